"""Proofs of thinking come back to who made them, and to nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from services.translation.conversation import Redacted, Thinking
from services.translation.signatures import replayable, seal, unseal


@given(st.text(min_size=1), st.sampled_from(["gemini", "responses", "converse", "orchestration"]))
def test_a_sealed_signature_comes_back_with_its_origin(signature: str, origin: str) -> None:
    """Whatever is in it."""
    assert (signature, origin) == unseal(seal(signature, origin))


def test_claudes_signatures_stay_as_they_are() -> None:
    """Its clients expect them so."""
    assert ("EqoB", ("EqoB", "claude")) == (seal("EqoB", "claude"), unseal("EqoB"))


def test_an_empty_one_has_no_origin() -> None:
    """Thinking without proof."""
    assert ("", ("", "")) == (seal("", "gemini"), unseal(""))


@pytest.mark.parametrize(
    ("block", "replays"),
    [
        (Thinking("t", "s", "claude"), True),
        (Thinking("t", "s", "gemini"), False),
        (Thinking("t"), False),
        (Redacted("d"), True),
        (Redacted("d", "responses"), False),
        (Redacted(""), False),
    ],
)
def test_only_its_origin_takes_a_block_back(block: Thinking | Redacted, replays: bool) -> None:
    """And only with a proof."""
    assert replays is replayable(block, "claude", "converse")
