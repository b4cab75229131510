"""Titan's embeddings through `invoke`: one text in, one vector out (wire §4.4, §8.11)."""

from __future__ import annotations

from typing import Any

from perf.simulator import text
from perf.simulator.executables import checks
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.embeddings import vector
from perf.simulator.models import Model

LENGTHS = (256, 512, 1024)
MAX_TOKENS = 8192


def _length(value: Any, where: str) -> None:
    if value not in LENGTHS:
        raise Invalid(f"{where}: {value} is not one of {', '.join(map(str, LENGTHS))}")


def _text(value: Any, where: str) -> None:
    checks.text()(value, where)
    if not value:
        raise Invalid(
            "Malformed input request: expected minLength: 1, actual: 0, please reformat your input and try "
            "again."
        )


_BODY = checks.record(
    {"inputText": _text}, {"embeddingConfig": checks.record({}, {"outputEmbeddingLength": _length})}
)


def answer(body: Any, model: Model) -> dict[str, Any]:
    """The vector of `inputText`. Raises Invalid."""
    _BODY(body, "")
    given = body["inputText"]
    size = text.count(len(given))
    if size > MAX_TOKENS:
        raise Invalid(
            f"400 Bad Request: Too many input tokens. Max input tokens: {MAX_TOKENS}, request input token "
            f"count: {size}"
        )
    length = body.get("embeddingConfig", {}).get("outputEmbeddingLength", model.dimensions)
    return {"embedding": vector(given, length, as_base64=False), "inputTextTokenCount": size}
