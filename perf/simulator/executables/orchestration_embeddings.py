"""Embeddings through orchestration (wire §4.8)."""

from __future__ import annotations

import msgspec

from perf.simulator.answers import Reply, reply_json
from perf.simulator.errors import new_uuid
from perf.simulator.executables import embeddings
from perf.simulator.executables.base import Call
from perf.simulator.executables.orchestration_body import EmbeddingRequest, decode
from perf.simulator.executables.orchestration_errors import EMBEDDING, Failure, fails, refusal
from perf.simulator.executables.validation import BadBody
from perf.simulator.models import MODELS

_DECODER = msgspec.json.Decoder(EmbeddingRequest)


def embed(call: Call) -> Reply:
    """`POST v2/embeddings`."""
    try:
        request = decode(_DECODER, call.body)
        final = _embedded(request)
    except Failure as failure:
        return refusal([failure], listed=False)
    return reply_json({"request_id": new_uuid(), "final_result": msgspec.Raw(final)})


def _embedded(request: EmbeddingRequest) -> bytes:
    details = request.config.modules.embeddings.model
    known = {name: model for name, model in MODELS.items() if model.dimensions}
    if details.name not in known:
        raise fails(EMBEDDING, f"Model name must be one of dict_keys({list(known)})")
    params = details.params
    body = {
        "input": request.input.text,
        # What `binary` means is not told; it is answered like base64 (u).
        "encoding_format": "float" if params.encoding_format == "float" else "base64",
        "dimensions": params.dimensions or None,
    }
    try:
        return embeddings.answer(msgspec.json.encode(body), known[details.name]).body
    except BadBody as error:
        raise fails(EMBEDDING, error.problem.message) from error
