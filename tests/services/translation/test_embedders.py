"""Each family's way to vectors, and OpenAI's list made of them."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import msgspec
import pytest
from openai.types import CreateEmbeddingResponse

from services.errors import BadRequest, UpstreamBroken, UpstreamLimited
from services.translation import embeddings, fields
from services.translation.capabilities import facts_for, override
from services.translation.replies import Prepared, Target

TITAN = "amazon--titan-embed-text"
GEMINI = "gemini-embedding"
NVIDIA = "nvidia--llama-3.2-nv-embedqa-1b"
ORCHESTRATED = "text-embedding-3-small"


def target(model: str, executable: str = "", **members: Any) -> Target:
    """The model under a public name of its own."""
    given = {"api_version": "v", "defaults": {}, "version": "1", **members}
    return Target(public_name="ours", backend_model=model, facts=facts_for(model, executable), **given)


def prepared(model: str, executable: str = "", **members: Any) -> Prepared:
    """The request for one text, or what the members say."""
    body = fields.parse(json.dumps({"model": "ours", "input": "Hallo", **members}).encode())
    return embeddings.prepare(body, target(model, executable))


def sent(request: Prepared) -> Any:
    """The body that goes up."""
    return json.loads(request.body)


# What each family answers to one text, with the vector [0.5, -1.0] and three tokens.
ANSWERS = {
    TITAN: {"embedding": [0.5, -1.0], "inputTextTokenCount": 3},
    GEMINI: {"predictions": [{"embeddings": {"values": [0.5, -1.0], "statistics": {"token_count": 3.0}}}]},
    ORCHESTRATED: {
        "request_id": "r",
        "final_result": {
            "object": "list",
            "data": [{"object": "embedding", "embedding": [0.5, -1.0], "index": 0}],
            "model": "m",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        },
    },
}
EXECUTABLE = {TITAN: "", GEMINI: "", ORCHESTRATED: "orchestration"}


@pytest.mark.parametrize("model", ANSWERS)
def test_rules_of_the_configuration_hold_for_translated_models_too(model: str) -> None:
    """What is to be dropped is, and told; what is to be refused is."""
    plain = target(model, EXECUTABLE[model])
    asked = fields.parse(b'{"model":"ours","input":"Hallo","dimensions":256}')

    def under(**rules: Any) -> Target:
        return msgspec.structs.replace(plain, facts=override(plain.facts, **rules))

    request = embeddings.prepare(asked, under(drop=["dimensions"]))

    assert ("dimensions",) == request.dropped
    assert b"256" not in request.body
    with pytest.raises(BadRequest, match="'dimensions' cannot be honoured"):
        embeddings.prepare(asked, under(refuse=["dimensions"]))


@pytest.mark.parametrize(
    ("model", "path", "body"),
    [
        (TITAN, "/invoke", {"inputText": "Hallo"}),
        (GEMINI, "/models/gemini-embedding:predict", {"instances": [{"content": "Hallo"}]}),
        (
            ORCHESTRATED,
            "/v2/embeddings",
            {
                "config": {
                    "modules": {
                        "embeddings": {
                            "model": {
                                "name": ORCHESTRATED,
                                "version": "1",
                                "params": {"encoding_format": "float"},
                                "max_retries": 0,
                            }
                        }
                    }
                },
                "input": {"text": ["Hallo"]},
            },
        ),
        (
            NVIDIA,
            "/embeddings",
            {"input_type": "passage", "truncate": "NONE", "input": ["Hallo"], "model": NVIDIA},
        ),
    ],
)
def test_a_text_goes_up_as_the_family_wants_it(model: str, path: str, body: Any) -> None:
    """Wire §8.11; a single text too."""
    request = prepared(model, EXECUTABLE.get(model, ""))

    assert (path, body, ()) == (request.path, sent(request), request.dropped)


@pytest.mark.parametrize(
    ("model", "place"),
    [
        (TITAN, ("embeddingConfig", "outputEmbeddingLength")),
        (GEMINI, ("parameters", "outputDimensionality")),
        (ORCHESTRATED, ("config", "modules", "embeddings", "model", "params", "dimensions")),
    ],
)
def test_dimensions_have_their_place(model: str, place: tuple[str, ...]) -> None:
    """Each family names them differently."""
    body = sent(prepared(model, EXECUTABLE[model], dimensions=256))

    for step in place:
        body = body[step]
    assert 256 == body


def test_nvidia_takes_a_list_as_it_is() -> None:
    """Only a single text has to become one."""
    assert ["a", "b"] == sent(prepared(NVIDIA, input=["a", "b"]))["input"]


def test_nvidia_vectors_have_one_length() -> None:
    """Refused by name."""
    with pytest.raises(BadRequest) as caught:
        prepared(NVIDIA, dimensions=256)
    assert "dimensions" == caught.value.param


@pytest.mark.parametrize(
    ("model", "kind", "place", "value"),
    [
        (GEMINI, "query", ("instances", 0, "task_type"), "RETRIEVAL_QUERY"),
        (NVIDIA, "query", ("input_type",), "query"),
        (ORCHESTRATED, "passage", ("input", "type"), "document"),
        (ORCHESTRATED, "clustering", ("input", "type"), "clustering"),
    ],
)
def test_an_input_type_is_translated(model: str, kind: str, place: tuple[Any, ...], value: str) -> None:
    """An extension that callers of retrieval models use."""
    body = sent(prepared(model, EXECUTABLE.get(model, ""), input_type=kind))

    for step in place:
        body = body[step]
    assert value == body


def test_titan_knows_no_input_types() -> None:
    """Reported as dropped."""
    assert ("input_type",) == prepared(TITAN, input_type="query").dropped


def test_an_unknown_input_type_is_refused() -> None:
    """By name."""
    with pytest.raises(BadRequest, match=r"query, passage") as caught:
        prepared(GEMINI, input_type="poem")
    assert "input_type" == caught.value.param


@pytest.mark.parametrize("model", [TITAN, GEMINI, ORCHESTRATED])
@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_an_answer_is_openais_list(model: str, encoding: str | None) -> None:
    """Encoded as the caller wants it; the OpenAI SDK asks for base64 by itself (trap 40)."""
    request = prepared(model, EXECUTABLE[model], encoding_format=encoding)

    answer = request.answer(json.dumps(ANSWERS[model]).encode())

    whole = json.loads(answer.body)
    vector = whole["data"][0]["embedding"]
    if encoding == "base64":
        vector = list(struct.unpack("<2f", base64.b64decode(vector)))
    else:
        CreateEmbeddingResponse.model_validate(whole)
    assert ([0.5, -1.0], "ours", {"prompt_tokens": 3, "total_tokens": 3}) == (
        vector,
        whole["model"],
        whole["usage"],
    )
    assert answer.usage is not None
    assert 3 == answer.usage.prompt_tokens


@pytest.mark.parametrize("model", [TITAN, GEMINI, ORCHESTRATED])
@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]], ["a", 1]])
def test_tokens_are_refused_where_only_text_is_taken(model: str, tokens: Any) -> None:
    """Wire §8.11."""
    with pytest.raises(BadRequest, match="no tokens") as caught:
        prepared(model, EXECUTABLE[model], input=tokens)
    assert "input" == caught.value.param


def test_an_unknown_encoding_is_refused() -> None:
    """By name."""
    with pytest.raises(BadRequest) as caught:
        prepared(TITAN, encoding_format="binary")
    assert "encoding_format" == caught.value.param


@pytest.mark.parametrize("model", [TITAN, NVIDIA])
def test_what_the_family_does_not_know_is_reported(model: str) -> None:
    """`user` goes nowhere."""
    assert ("user",) == prepared(model, user="u").dropped


@pytest.mark.parametrize("model", [TITAN, GEMINI, ORCHESTRATED])
@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"embedding":"x"}'])
def test_an_answer_that_is_none_is_broken(model: str, body: bytes) -> None:
    """502, never an empty vector."""
    with pytest.raises(UpstreamBroken):
        prepared(model, EXECUTABLE[model]).answer(body)


def test_an_error_inside_a_200_is_that_error() -> None:
    """Wire §6.4."""
    with pytest.raises(UpstreamLimited):
        prepared(TITAN).answer(b'{"error":{"code":"429","message":"slow down"}}')


def test_orchestrated_vectors_come_in_the_order_of_the_texts() -> None:
    """By index, whatever the order on the wire (trap 40)."""
    data = [{"embedding": [2.0], "index": 1}, {"embedding": [1.0], "index": 0}]
    request = prepared(ORCHESTRATED, "orchestration", input=["a", "b"])

    answer = request.answer(json.dumps({"final_result": {"data": data}}).encode())

    assert [[1.0], [2.0]] == [item["embedding"] for item in json.loads(answer.body)["data"]]


def test_a_configured_masking_goes_around_embeddings_too() -> None:
    """The one module that both have."""
    masked = target(ORCHESTRATED, "orchestration", modules={"masking": {"providers": []}, "filtering": {}})
    body = fields.parse(b'{"model":"ours","input":"x"}')

    modules = sent(embeddings.prepare(body, masked))["config"]["modules"]

    assert ({"providers": []}, ["embeddings", "masking"]) == (modules["masking"], sorted(modules))


def test_of_more_texts_than_one_call_takes_the_first_are_prepared() -> None:
    """Whoever splits asks for the rest."""
    assert {"inputText": "a"} == sent(prepared(TITAN, input=["a", "b"]))


def test_tokens_are_never_split() -> None:
    """One input of many numbers looks like many inputs."""
    body = fields.parse(b'{"input":[1,2,3]}')

    assert [body] == embeddings.split(body, 1)


def test_vectors_that_are_too_few_are_noticed() -> None:
    """Else a caller would get another's."""
    bodies = [fields.parse(b'{"input":"a"}'), fields.parse(b'{"input":"b"}')]
    answer = prepared(TITAN).answer(json.dumps(ANSWERS[TITAN]).encode())

    with pytest.raises(UpstreamBroken, match="1 vectors for 2 texts"):
        embeddings.shares(answer, bodies)


def test_items_that_cannot_be_read_are_broken() -> None:
    """A shared answer has to be taken apart."""
    passed = prepared("text-embedding-3-small").answer(b'{"data":[{"index":"x"}]}')

    with pytest.raises(UpstreamBroken, match="vectors"):
        embeddings.join([passed])


def test_empty_texts_share_no_tokens() -> None:
    """Nothing is divided by nothing."""
    answer = prepared(ORCHESTRATED, "orchestration", input=["", ""]).answer(
        b'{"final_result":{"data":[{"embedding":[1],"index":0},{"embedding":[2],"index":1}]}}'
    )

    parts = embeddings.shares(answer, [fields.parse(b'{"input":""}')] * 2)

    assert [0, 0] == [part.usage and part.usage.prompt_tokens for part in parts]


@pytest.mark.parametrize("model", [TITAN, GEMINI])
def test_no_text_at_all_is_refused(model: str) -> None:
    """By name, before any call."""
    with pytest.raises(BadRequest) as refused:
        prepared(model, input=[])

    assert "input" == refused.value.param
