"""OpenAI's embeddings as callers know them, to every family and back (wire §8.11).

Azure and NVIDIA speak the same dialect, so everything passes (usage is the upstream's, trap 40); how the
others are spoken to is in `embedders`. A model that takes few inputs at a time is asked part by part: `split`
and `join` are for whoever does that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from services.errors import BadRequest, UpstreamBroken
from services.translation import embedders, fields as f
from services.translation.capabilities import EMBEDDINGS
from services.translation.embedders import Embedder, Vectors, Wanted
from services.translation.faults import error_inside
from services.translation.fields import Fields
from services.translation.replies import Answer, Prepared, Target, Usage
from services.translation.rules import apply_rules, with_defaults

_KINDS = "'input' must be a string or an array: of strings, or of tokens where the model takes them"
_DIALECTS: Mapping[str, Embedder] = {
    "titan": embedders.TITAN,
    "gemini": embedders.GEMINI,
    "orchestration": embedders.ORCHESTRATION,
}
_encode = msgspec.json.encode


class _List(msgspec.Struct):
    data: msgspec.Raw = f.ABSENT
    usage: Usage | None = None
    error: msgspec.Raw = f.ABSENT


class _Item(msgspec.Struct):
    index: int
    embedding: msgspec.Raw
    object: str = "embedding"


_list = msgspec.json.Decoder(_List)
_items = msgspec.json.Decoder(list[_Item])


def prepare(body: Fields, target: Target) -> Prepared:
    """Return the request for the model's deployments. Raises BadRequest naming the field.

    Of more inputs than one call takes, it is the request for the first ones.
    """
    _check(body, target)
    body = with_defaults(body, target.defaults, target.facts.fields)
    out, dropped = apply_rules(body, target.facts.fields)
    embedder = _DIALECTS.get(target.facts.dialect)
    return _passed(out, dropped, target) if embedder is None else _translated(out, dropped, target, embedder)


def _passed(out: Fields, dropped: tuple[str, ...], target: Target) -> Prepared:
    path = "/embeddings"
    if target.facts.model_in_body:
        out["model"] = f.raw(target.backend_model)
    else:
        out.pop("model", None)
        path = f"{path}?api-version={target.api_version}"
    if target.facts.dialect == "nvidia":
        out, dropped = embedders.nvidia(out, dropped)
    return Prepared(
        path=path,
        body=_encode(out),
        dropped=dropped,
        deterministic=True,
        answer=lambda answer: read_answer(answer, model=target.public_name),
    )


def _translated(body: Fields, dropped: tuple[str, ...], target: Target, embedder: Embedder) -> Prepared:
    texts = texts_of(body)
    if texts is None:
        raise BadRequest(
            f"the model '{target.public_name}' takes text only, no tokens; send 'input' as strings",
            param="input",
        )
    if not texts:
        raise BadRequest("'input' must hold at least one text", param="input")
    wanted = Wanted(
        texts=texts[: target.facts.batch or None],
        dimensions=f.read(body, "dimensions", int),
        kind=f.read(body, "input_type", str) or "",
    )
    base64 = _is_base64(body)
    path, sent, lost = embedder.request(wanted, target)
    unknown = (name for name, raw in body.items() if name not in embedders.READ and f.present(raw))
    return Prepared(
        path=path,
        body=_encode(sent),
        dropped=(*dropped, *lost, *unknown),
        deterministic=True,
        answer=lambda answer: _written(embedder.answer(answer), base64=base64, model=target.public_name),
    )


def texts_of(body: Fields) -> tuple[str, ...] | None:
    """Return the texts to embed; None where they are tokens. Raises BadRequest."""
    given = body["input"]
    try:
        texts = msgspec.json.decode(given, type=str | list[str])
    except f.UNREADABLE:
        return None
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _is_base64(body: Fields) -> bool:
    encoding = f.read(body, "encoding_format", str) or "float"
    if encoding not in ("float", "base64"):
        raise BadRequest('\'encoding_format\' must be "float" or "base64"', param="encoding_format")
    return encoding == "base64"


def read_answer(body: bytes, *, model: str) -> Answer:
    """Return the caller's answer. Raises UpstreamBroken for what is none, UpstreamError for its error."""
    members = f.decoded(f.decoder, body, f.ANSWER)
    seen = f.decoded(_list, body, f.ANSWER)
    if f.present(seen.error):
        raise error_inside(body)
    if not f.present(seen.data):
        raise UpstreamBroken("the upstream's answer has no data")
    members["model"] = f.raw(model)
    return Answer(body=_encode(members), usage=seen.usage)


def _written(vectors: Vectors, *, base64: bool, model: str) -> Answer:
    """Return OpenAI's list of these vectors."""
    items = [
        _Item(index, embedders.base64_of(vector) if base64 else f.raw(vector))
        for index, vector in enumerate(vectors.vectors)
    ]
    return _answer(items, vectors.tokens, model)


def _answer(items: Sequence[_Item], tokens: int, model: str) -> Answer:
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = _encode({"object": "list", "data": items, "model": model, "usage": usage})
    return Answer(body=body, usage=Usage(tokens, 0, tokens))


# --- part by part --------------------------------------------------------------------------------------


def split(body: Fields, size: int) -> list[Fields]:
    """Return requests of at most `size` texts each that are this one together. Tokens are never split."""
    texts = texts_of(body)
    if texts is None or len(texts) <= size:
        return [body]
    return [{**body, "input": f.raw(texts[at : at + size])} for at in range(0, len(texts), size)]


def together(bodies: Sequence[Fields]) -> Fields:
    """Return the one request that asks for what each of these asks for."""
    texts = [text for body in bodies for text in texts_of(body) or ()]
    return {**bodies[0], "input": f.raw(texts)}


def join(answers: Sequence[Answer]) -> Answer:
    """Return the answer to a request that was split, from those to its parts, in their order."""
    items: list[_Item] = []
    tokens = 0
    for answer in answers:
        items += _read_items(answer)
        tokens += int(answer.usage.prompt_tokens or 0) if answer.usage else 0
    for index, item in enumerate(items):
        item.index = index
    return _answer(items, tokens, _model_of(answers[0]))


def shares(answer: Answer, bodies: Sequence[Fields]) -> list[Answer]:
    """Return each request's own answer from the one to all of them together.

    The upstream counts tokens for all; each gets a part of them by the length of its text.
    Raises UpstreamBroken when there are more or fewer vectors than texts.
    """
    items, model = _read_items(answer), _model_of(answer)
    texts = [texts_of(body) or () for body in bodies]
    if len(items) != sum(map(len, texts)):
        raise UpstreamBroken(f"the upstream answered {len(items)} vectors for {sum(map(len, texts))} texts")
    left = int(answer.usage.prompt_tokens or 0) if answer.usage else 0
    size = sum(len(text) for each in texts for text in each)
    out: list[Answer] = []
    for each in texts:
        length = sum(map(len, each))
        tokens = round(left * length / size) if size else 0
        left, size = left - tokens, size - length
        own, items = items[: len(each)], items[len(each) :]
        for index, item in enumerate(own):
            item.index = index
        out.append(_answer(own, tokens, model))
    return out


def _read_items(answer: Answer) -> list[_Item]:
    items = f.decoded(_items, _list.decode(answer.body).data, "the upstream's vectors")
    return sorted(items, key=lambda item: item.index)


def _model_of(answer: Answer) -> str:
    return f.required(f.decoder.decode(answer.body), "model", str)


def _check(body: Fields, target: Target) -> None:
    if EMBEDDINGS not in target.facts.modes:
        offers = ", ".join(target.facts.modes)
        raise BadRequest(
            f"the model '{target.public_name}' makes no embeddings; it is for: {offers}", param="model"
        )
    given = body.get("input")
    if given is None or f.is_null(given):
        raise BadRequest("'input' is required", param="input")
    if f.first_byte(given) not in (b'"', b"["):
        raise BadRequest(_KINDS, param="input")
