"""OpenAI embeddings, to Azure deployments and back (wire §4.1, §8.11).

Everything passes: token arrays, `dimensions`, `encoding_format`, `user`; usage is the upstream's (trap 40).
"""

from __future__ import annotations

import msgspec

from services.errors import BadRequest, UpstreamBroken
from services.translation import fields as f
from services.translation.capabilities import EMBEDDINGS
from services.translation.chat import apply_rules, with_defaults
from services.translation.faults import error_inside
from services.translation.fields import Fields
from services.translation.replies import Answer, Prepared, Target, Usage

_INPUT_STARTS = (b'"', b"[")


class _List(msgspec.Struct):
    data: msgspec.Raw = f.ABSENT
    usage: Usage | None = None
    error: msgspec.Raw = f.ABSENT


_list = msgspec.json.Decoder(_List)


def prepare(body: Fields, target: Target) -> Prepared:
    """Return the request for the model's deployments. Raises BadRequest naming the field."""
    _check(body, target)
    out, dropped = apply_rules(with_defaults(body, target), target.facts)
    path = "/embeddings"
    if target.facts.model_in_body:
        out["model"] = f.raw(target.backend_model)
    else:
        out.pop("model", None)
        path = f"{path}?api-version={target.api_version}"
    return Prepared(
        path=path,
        body=msgspec.json.encode(out),
        dropped=dropped,
        sent=out,
        answer=lambda answer: read_answer(answer, model=target.public_name),
    )


def read_answer(body: bytes, *, model: str) -> Answer:
    """Return the caller's answer. Raises UpstreamBroken for what is none, UpstreamError for its error."""
    try:
        members = f.decoder.decode(body)
        seen = _list.decode(body)
    except f.UNREADABLE as exc:
        raise UpstreamBroken(f"the upstream's answer cannot be read: {exc}") from exc
    if f.present(seen.error):
        raise error_inside(body)
    if not f.present(seen.data):
        raise UpstreamBroken("the upstream's answer has no data")
    members["model"] = f.raw(model)
    return Answer(body=msgspec.json.encode(members), usage=seen.usage)


def _check(body: Fields, target: Target) -> None:
    if EMBEDDINGS not in target.facts.modes:
        offers = ", ".join(target.facts.modes)
        raise BadRequest(
            f"the model '{target.public_name}' makes no embeddings; it is for: {offers}", param="model"
        )
    given = body.get("input")
    if given is None or f.is_null(given):
        raise BadRequest("'input' is required", param="input")
    if f.first_byte(given) not in _INPUT_STARTS:
        raise BadRequest("'input' must be a string or an array", param="input")
