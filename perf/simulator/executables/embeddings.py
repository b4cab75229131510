"""Embeddings in OpenAI's form: strings and token arrays in, unit vectors out, the same for the same input."""

from __future__ import annotations

import base64
import math
import random
import sys
import zlib
from array import array
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

from perf.simulator import text
from perf.simulator.answers import Reply, reply_json
from perf.simulator.errors import Problem
from perf.simulator.executables.validation import BadBody, decode
from perf.simulator.models import Model

MAX_INPUTS = 2048
MAX_TOKENS = 8192
MAX_TOTAL_TOKENS = 300_000

Tokens = Annotated[list[Annotated[int, msgspec.Meta(ge=0)]], msgspec.Meta(min_length=1)]


class EmbeddingBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The request body."""

    input: str | Annotated[list[Any], msgspec.Meta(min_length=1)]
    model: Any = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None
    input_type: str | None = None


_DECODER = msgspec.json.Decoder(EmbeddingBody)
_SPREAD = 1 << 16
_noise = random.Random(20260303)
_NUMBERS = array("f", (_noise.uniform(-1, 1) for _ in range(_SPREAD + 4096)))


def answer(body: bytes, model: Model) -> Reply:
    """The list of vectors. Raises BadBody."""
    wanted = decode(_DECODER, body)
    dimensions = _dimensions(wanted, model)
    inputs = _inputs(wanted.input)
    sizes = [_size(item, place) for place, item in enumerate(inputs)]
    if sum(sizes) > MAX_TOTAL_TOKENS:
        raise _bad(
            f"Invalid 'input': maximum request size is {MAX_TOTAL_TOKENS} tokens per request.", "input"
        )
    as_base64 = wanted.encoding_format == "base64"
    data = [
        {"embedding": vector(item, dimensions, as_base64=as_base64), "index": place, "object": "embedding"}
        for place, item in enumerate(inputs)
    ]
    usage = {"prompt_tokens": sum(sizes), "total_tokens": sum(sizes)}
    return reply_json({"data": data, "model": model.snapshot, "object": "list", "usage": usage})


def _dimensions(wanted: EmbeddingBody, model: Model) -> int:
    if not model.dimensions:
        raise BadBody(
            Problem(
                400,
                f"The embeddings operation does not work with the specified model, {model.name}.",
                "OperationNotSupported",
            )
        )
    if wanted.dimensions is not None and wanted.dimensions > model.dimensions:
        raise _bad(
            f"Invalid value for 'dimensions' = {wanted.dimensions}. "
            f"Must be less than or equal to {model.dimensions}.",
            "dimensions",
        )
    return wanted.dimensions or model.dimensions


def _inputs(given: str | list[Any]) -> list[str | list[int]]:
    """One string, several, one token array, or several. Raises BadBody."""
    inputs = [given] if isinstance(given, str) or all(type(item) is int for item in given) else given
    if len(inputs) > MAX_INPUTS:
        raise _bad(f"Invalid 'input': array too long. Expected at most {MAX_INPUTS} items.", "input")
    if all(type(item) is str for item in inputs):
        return inputs
    try:
        arrays: list[str | list[int]] = msgspec.convert(inputs, list[Tokens])
    except msgspec.ValidationError as error:
        raise _bad("'$.input' is invalid. Please check the API reference.", "input") from error
    return arrays


def _size(item: str | list[int], place: int) -> int:
    if item == "":
        raise _bad(f"Invalid 'input[{place}]': input cannot be an empty string.", "input")
    size = text.count(len(item)) if isinstance(item, str) else len(item)
    if size > MAX_TOKENS:
        raise _bad(f"Invalid 'input[{place}]': maximum context length is {MAX_TOKENS} tokens.", "input")
    return size


def _bad(message: str, param: str) -> BadBody:
    return BadBody(Problem(400, message, param=param))


def vector(item: str | list[int], dimensions: int, *, as_base64: bool) -> Any:
    """The vector of an input: a list of numbers, or base64 of little-endian 32-bit floats."""
    raw = item.encode() if isinstance(item, str) else repr(item).encode()
    return _encoded(zlib.crc32(raw) % _SPREAD, dimensions, as_base64)


@lru_cache(maxsize=512)
def _encoded(offset: int, dimensions: int, as_base64: bool) -> Any:
    window = _NUMBERS[offset : offset + dimensions]
    length = math.sqrt(sum(number * number for number in window))
    unit = array("f", (number / length for number in window))
    if not as_base64:
        return msgspec.Raw(msgspec.json.encode(unit.tolist()))
    if sys.byteorder == "big":
        unit.byteswap()
    return base64.b64encode(unit.tobytes()).decode()
