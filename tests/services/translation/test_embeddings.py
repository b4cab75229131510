"""Embeddings: everything passes (trap 40)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.errors import BadRequest, UpstreamBroken, UpstreamLimited
from services.translation import embeddings, fields
from services.translation.capabilities import ModelFacts
from services.translation.replies import Usage
from tests.services.translation.samples import PUBLIC, target

MODEL = "text-embedding-3-small"
ANSWER = (
    b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10,-1e-3]},{"index":1,'
    b'"embedding":"AAAA"}],"model":"text-embedding-3-small-1",'
    b'"usage":{"prompt_tokens":8,"total_tokens":8},"z":{ }}'
)


def prepared(request: bytes, **options: Any) -> Any:
    """What goes up."""
    return embeddings.prepare(fields.parse(request), target(MODEL, **options))


@pytest.mark.parametrize("given", [b'"a"', b'["a","b"]', b"[1,2,3]", b"[[1,2],[3]]"])
def test_trap_40_every_form_of_input_passes(given: bytes) -> None:
    """Trap 40: texts and token arrays, with dimensions, encoding and user."""
    asked = b'{"input":' + given + b',"dimensions":256,"encoding_format":"base64","user":"u","new":1.0}'

    assert asked == prepared(asked[:-1] + b',"model":"m"}').body


def test_trap_38_azure_wants_an_api_version() -> None:
    """Trap 38: and no model."""
    assert "/embeddings?api-version=2025-04-01-preview" == prepared(b'{"input":"a"}').path


def test_trap_39_others_want_the_model() -> None:
    """Trap 39: the backend's name, and no api-version."""
    facts = ModelFacts(modes=("embeddings",), model_in_body=True)
    request = prepared(b'{"input":"a","model":"alias"}', facts=facts)

    assert ("/embeddings", {"input": "a", "model": MODEL}) == (request.path, json.loads(request.body))


def test_defaults_fill_in_and_rules_apply() -> None:
    """As for chat."""
    request = prepared(b'{"input":"a","store":true,"dimensions":8}', defaults={"dimensions": 1, "user": "u"})

    assert ({"input": "a", "user": "u", "dimensions": 8}, ("store",)) == (
        json.loads(request.body),
        request.dropped,
    )


def test_trap_55_the_request_is_never_changed() -> None:
    """Trap 55: the model stays in the caller's body."""
    asked = fields.parse(b'{"model":"m","input":"a"}')
    embeddings.prepare(asked, target(MODEL))

    assert ["model", "input"] == list(asked)


@pytest.mark.parametrize(
    ("request_body", "words"),
    [
        (b"{}", "'input' is required"),
        (b'{"input":null}', "'input' is required"),
        (b'{"input":7}', "must be a string or an array"),
        (b'{"input":{}}', "must be a string or an array"),
    ],
)
def test_input_is_needed(request_body: bytes, words: str) -> None:
    """400 naming it."""
    with pytest.raises(BadRequest, match=words) as caught:
        prepared(request_body)
    assert "input" == caught.value.param


def test_a_chat_model_says_what_it_is_for() -> None:
    """400 naming the model."""
    with pytest.raises(BadRequest, match="it is for: chat") as caught:
        embeddings.prepare(fields.parse(b'{"input":"a"}'), target("gpt-4o"))
    assert "model" == caught.value.param


def test_trap_40_vectors_and_usage_are_the_upstreams() -> None:
    """Trap 40: numbers, base64 and order keep their bytes; only the model's name changes."""
    read = prepared(b'{"input":"a"}').answer(ANSWER)
    expected = {name: bytes(raw) for name, raw in fields.parse(ANSWER).items()}

    assert expected | {"model": f'"{PUBLIC}"'.encode()} == {
        name: bytes(raw) for name, raw in fields.parse(read.body).items()
    }
    assert Usage(8, 0, 8) == read.usage


@pytest.mark.parametrize(
    "upstream", [b"", b"[]", b"{", b"{}", b'{"data":null}', b'{"\xff":1}', b"[" * 100_000]
)
def test_what_is_no_answer_is_broken(upstream: bytes) -> None:
    """Never a 200."""
    with pytest.raises(UpstreamBroken):
        embeddings.read_answer(upstream, model="m")


def test_an_error_inside_a_200_is_raised() -> None:
    """It is no answer."""
    with pytest.raises(UpstreamLimited):
        embeddings.read_answer(b'{"error":{"code":"429","message":"slow"}}', model="m")


def test_parts_of_a_request_are_answered_as_one() -> None:
    """Their vectors follow one another in the order of the texts, their tokens add up."""
    parts = embeddings.split(fields.parse(b'{"input":["a","b","c"],"dimensions":2}'), 2)
    answers = [
        embeddings.read_answer(
            b'{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}],"usage":{"prompt_tokens":3}}',
            model="m",
        ),
        embeddings.read_answer(b'{"data":[{"index":0,"embedding":[3]}]}', model="m"),
    ]

    joined = embeddings.join(answers)

    assert [b'["a","b"]', b'["c"]'] == [bytes(part["input"]) for part in parts]
    assert [(0, [1]), (1, [2]), (2, [3])] == [
        (item["index"], item["embedding"]) for item in json.loads(joined.body)["data"]
    ]
    assert Usage(3, 0, 3) == joined.usage


def test_requests_that_travel_together_share_the_answer() -> None:
    """Each gets the vectors of its own texts, and of the tokens a part by their length."""
    bodies = [fields.parse(b'{"input":["a","bb"],"user":"u"}'), fields.parse(b'{"input":"c","user":"u"}')]
    asked = embeddings.together(bodies)
    answer = embeddings.read_answer(
        b'{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[2]},{"index":2,"embedding":[3]}],'
        b'"usage":{"prompt_tokens":8}}',
        model="m",
    )

    first, second = embeddings.shares(answer, bodies)

    assert {"input": b'["a","bb","c"]', "user": b'"u"'} == {name: bytes(raw) for name, raw in asked.items()}
    assert [[(0, [1]), (1, [2])], [(0, [3])]] == [
        [(item["index"], item["embedding"]) for item in json.loads(part.body)["data"]]
        for part in (first, second)
    ]
    assert (Usage(6, 0, 6), Usage(2, 0, 2)) == (first.usage, second.usage)
