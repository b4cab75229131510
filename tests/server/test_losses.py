"""What the README says is lost is lost just so: each example is translated to every dialect of its row."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from server.readme import Loss, losses
from services.errors import BadRequest
from services.translation import fields
from services.translation.callers import CALLERS
from services.translation.capabilities import facts_for
from services.translation.replies import Prepared, Target
from services.translation.translate import prepare

MODELS = {
    "azure-openai": "gpt-5",
    "openai-like": "mistralai--mistral-small",
    "claude": "anthropic--claude-4.6-sonnet",
    "converse": "amazon--nova-pro",
    "gemini": "gemini-3.5-flash",
    "cohere": "cohere--command-a-reasoning",
    "orchestration": "mistralai--mistral-small",
}
"""Dialect → the model that stands for it, where a row names no other."""
ROWS = losses().losses
TOLD_ONLY = {"What GPT thinks", "Exact counts of `count_tokens`, `countTokens`"}
"""Rows about what is not there to be translated."""


def cases(*, answers: bool = False) -> list[Any]:
    return [
        pytest.param(loss, surface, dialect, id=f"{loss.what[:40]}-{dialect}")
        for loss in ROWS
        if bool(loss.answers) == answers
        for surface in loss.example
        for dialect in loss.to
    ]


def translated(loss: Loss, surface: str, dialect: str) -> Prepared:
    model = loss.models.get(dialect, MODELS[dialect])
    facts = facts_for(model, "orchestration" if dialect == "orchestration" else "")
    assert dialect == facts.dialect
    target = Target(model, model, facts, "2025-04-01-preview", {})
    return prepare(fields.parse(loss.example[surface].encode()), target, surface=surface, stream=False)


def assert_seen(loss: Loss, body: str) -> None:
    """The patterns of the row hold for the body."""
    assert not loss.found or re.search(loss.found, body), body
    assert not loss.lacks or not re.search(loss.lacks, body), body


@pytest.mark.parametrize(("loss", "surface", "dialect"), cases())
def test_a_loss_is_as_it_is_told(loss: Loss, surface: str, dialect: str) -> None:
    """Named in x-aicore-dropped or not, refused by name, or to be seen in what goes up."""
    if loss.refused:
        with pytest.raises(BadRequest) as caught:
            translated(loss, surface, dialect)

        assert loss.refused == caught.value.param
        return
    prepared = translated(loss, surface, dialect)

    assert (bool(loss.dropped) and dialect not in loss.silent) == (loss.dropped in prepared.dropped)
    assert_seen(loss, prepared.body.decode())


@pytest.mark.parametrize(("loss", "surface", "dialect"), cases(answers=True))
def test_a_loss_of_answers_is_as_it_is_told(loss: Loss, surface: str, dialect: str) -> None:
    """To be seen in what comes down."""
    prepared = translated(loss, surface, dialect)

    assert_seen(loss, prepared.answer(loss.answers[dialect].encode()).body.decode())


def test_every_row_proves_something() -> None:
    """All but those about what is not there have an example and a claim about it."""
    vague = {
        loss.what
        for loss in ROWS
        if not loss.example or not (loss.dropped or loss.refused or loss.found or loss.lacks)
    }

    assert TOLD_ONLY == vague


def test_surfaces_and_dialects_exist() -> None:
    """A row speaks of what there is, and its example is said on one of its surfaces."""
    for loss in ROWS:
        assert set(loss.surfaces) | set(loss.example) <= set(CALLERS), loss.what
        assert set(loss.example) <= (set(loss.surfaces) or set(CALLERS)), loss.what
        assert set(loss.to) <= set(losses().families), loss.what
        assert set(loss.models) | set(loss.answers) | set(loss.silent) <= set(loss.to), loss.what
        assert all(json.loads(body) for body in (*loss.example.values(), *loss.answers.values())), loss.what
