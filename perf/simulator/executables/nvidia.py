"""aicore-nvidia: embeddings that tell queries from passages (wire §4.6, §8.11).

Choices where the wire document is unsure (u): `model` is NVIDIA's own name, with a slash, or the catalogue's,
which SAP's SDK sends; base64 is given to who asks, and that SDK asks unless told otherwise; unknown members
are refused, `dimensions` among them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from perf.simulator import text
from perf.simulator.answers import Reply, reply_json
from perf.simulator.errors import Problem, vllm
from perf.simulator.executables import embeddings
from perf.simulator.executables.base import Call, Executable
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.validation import BadBody, decode

MAX_TOKENS = 8192


class EmbeddingBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The request body."""

    input: str | Annotated[list[str], msgspec.Meta(min_length=1)]
    model: str
    input_type: Literal["query", "passage"] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    truncate: Literal["NONE", "START", "END"] = "NONE"
    user: str | None = None


_DECODER = msgspec.json.Decoder(EmbeddingBody)


def embed(call: Call) -> Reply:
    """`POST embeddings`."""
    model = call.model
    assert model is not None, "only orchestration has no model"
    name = model.name.replace("--", "/")
    try:
        body = decode(_DECODER, call.body)
        if body.model not in (name, model.name):
            raise BadBody(Problem(404, f"The model `{body.model}` does not exist.", param="model"))
        if body.input_type is None:
            raise Invalid("'input_type' parameter is required for asymmetric models", param="input_type")
        inputs = [body.input] if isinstance(body.input, str) else body.input
        sizes = [_size(item, body.truncate) for item in inputs]
    except (BadBody, Invalid) as error:
        raise EXECUTABLE.refuse(error.problem) from error
    as_base64 = body.encoding_format == "base64"
    vectors = (
        embeddings.vector(f"{body.input_type}: {item}", model.dimensions, as_base64=as_base64)
        for item in inputs
    )
    data = [
        {"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": sum(sizes), "total_tokens": sum(sizes)}
    return reply_json({"object": "list", "data": data, "model": name, "usage": usage})


def _size(item: str, truncate: str) -> int:
    if not item:
        raise Invalid("Input must not be empty.", param="input")
    size = text.count(len(item))
    if size > MAX_TOKENS and truncate == "NONE":
        raise Invalid(f"Input length {size} exceeds maximum allowed token size {MAX_TOKENS}", param="input")
    return min(size, MAX_TOKENS)


EXECUTABLE = Executable("aicore-nvidia", routes={"embeddings": embed}, error_shape=vllm)
