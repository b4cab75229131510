"""OpenAI chat completions, to Azure and OpenAI-like deployments and back (wire §4.1, §4.6, §8.1).

Both sides speak the same dialect, so nothing is rebuilt: the request goes up with the few edits that the
wire document requires, the answer's bytes come down with the model's public name in them, and members that
nobody here knows survive both ways.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from services.errors import BadRequest, GatewayError, UpstreamBroken
from services.translation import fields as f
from services.translation.callers.envelopes import openai_error
from services.translation.capabilities import ModelFacts
from services.translation.faults import error_inside
from services.translation.fields import Fields
from services.translation.frames import DONE, event
from services.translation.replies import Answer, Prepared, Target, Usage
from services.translation.rules import apply_rules, deterministic, with_defaults
from services.translation.through.chat_messages import without_extensions
from services.translation.through.relay import FrameRelay, renamed, says_more

_TRUE = msgspec.Raw(b"true")
_CALLED = "tool_calls"
_encode = msgspec.json.encode


class _Delta(msgspec.Struct, gc=False):
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    finish_reason: str | None = None
    delta: _Delta | None = None
    message: _Delta | None = None


class _Chunk(msgspec.Struct, gc=False):
    """What is looked at in a frame; everything else passes unseen."""

    choices: list[_Choice] = []
    usage: Usage | None = None
    model: str | None = None
    error: msgspec.Raw = f.ABSENT
    prompt_filter_results: msgspec.Raw = f.ABSENT


class _Open(msgspec.Struct):
    """The same, while nothing has begun: whatever may be in it counts."""

    choices: list[dict[str, Any]]


_chunk = msgspec.json.Decoder(_Chunk)
_open = msgspec.json.Decoder(_Open)
_choices = msgspec.json.Decoder(list[Fields])
_ROLE = frozenset({"role"})
_METADATA = frozenset({"index", "delta", "logprobs", "content_filter_results", "content_filter_offsets"})
"""Members of a choice that are no content."""


# --- request ---------------------------------------------------------------------------------------


def prepare(body: Fields, target: Target, *, stream: bool) -> Prepared:
    """Return the request for the model's deployments. Raises BadRequest naming a field it cannot honour."""
    facts = target.facts
    _check_messages(body)
    out, dropped = apply_rules(with_defaults(body, target.defaults, facts.fields), facts.fields)
    out["messages"], extensions = without_extensions(body["messages"])
    if facts.model_in_body:
        out["model"] = f.raw(target.backend_model)
    else:
        out.pop("model", None)
    wants_usage = False
    if stream:
        wants_usage = _ask_for_usage(out)
    return Prepared(
        path=_path("/chat/completions", facts, target.api_version),
        body=_encode(out),
        dropped=(*dropped, *extensions),
        deterministic=deterministic(out),
        answer=lambda answer: read_answer(answer, model=target.public_name, finish_fix=facts.finish_fix),
        relay=(
            lambda: ChatRelay(model=target.public_name, wants_usage=wants_usage, finish_fix=facts.finish_fix)
        )
        if stream
        else None,
    )


def _check_messages(body: Fields) -> None:
    messages = body.get("messages")
    if messages is None or f.is_null(messages):
        raise BadRequest("'messages' is required and must not be empty", param="messages")
    if f.first_byte(messages) != b"[":
        raise BadRequest("'messages' must be an array", param="messages")


def _ask_for_usage(out: Fields) -> bool:
    """Always ask the upstream for usage; return whether the caller asked too (trap 8)."""
    options = f.read(out, "stream_options", Fields) or {}
    wanted = bytes(options.get("include_usage", b"")) == b"true"
    out["stream"] = _TRUE
    out["stream_options"] = f.raw(options | {"include_usage": _TRUE})
    return wanted


def _path(path: str, facts: ModelFacts, api_version: str) -> str:
    return path if facts.model_in_body else f"{path}?api-version={api_version}"


# --- whole answer ----------------------------------------------------------------------------------


def read_answer(body: bytes, *, model: str, finish_fix: bool = False) -> Answer:
    """Return the caller's answer. Raises UpstreamBroken for what is none, UpstreamError for its error."""
    seen = f.decoded(_chunk, body, f.ANSWER)
    if f.present(seen.error):
        raise error_inside(body)
    if not seen.choices:
        raise UpstreamBroken("the upstream's answer has no choices")
    body = renamed(body, "model", seen.model, model, f.ANSWER)
    reasons = [choice.finish_reason for choice in seen.choices]
    if finish_fix and (wrong := [at for at, one in enumerate(seen.choices) if _mislabelled(one)]):
        body = _relabelled(body, wrong, f.ANSWER)
        reasons = [_CALLED if at in wrong else reason for at, reason in enumerate(reasons)]
    return Answer(body=body, usage=seen.usage, finish_reason=next(filter(None, reasons), ""))


def _mislabelled(choice: _Choice) -> bool:
    """Whether tool calls are there although the finish reason says `stop` (wire §4.6)."""
    said = choice.message
    return choice.finish_reason == "stop" and said is not None and bool(said.tool_calls)


def _relabelled(data: bytes, wrong: Collection[int], what: str) -> bytes:
    """Return an answer or a frame that says of the choices at these places that calls ended them."""
    members = f.decoded(f.decoder, data, what)
    choices = f.decoded(_choices, members["choices"], what)
    for at in wrong:
        choices[at]["finish_reason"] = f.raw(_CALLED)
    return _encode(members | {"choices": f.raw(choices)})


# --- stream ----------------------------------------------------------------------------------------


class ChatRelay(FrameRelay):
    """One stream of chat chunks, passed on frame by frame.

    Frames keep their bytes but for the model's name; the metadata frame that opens an Azure stream is merged
    into the first real one, because its empty id must not become the answer's (trap 6); the usage frame goes
    to callers that asked for it (trap 8). There is one `[DONE]`, at the end and only if the end was seen.
    """

    def __init__(self, *, model: str, wants_usage: bool, finish_fix: bool = False) -> None:
        super().__init__()
        self.usage: Usage | None = None
        self.finish_reason = ""
        self._model = model
        self._wants_usage = wants_usage
        self._usage_sent = False
        self._usage_held = f.ABSENT
        self._finish_fix = finish_fix
        self._last: bytes = b""
        self._filter_results = f.ABSENT
        self._unfinished: set[int] = set()
        self._finished: set[int] = set()
        self._with_tools: set[int] = set()

    def close(self) -> bytes:
        """Return the stream's end. Raises UpstreamBroken when no finish reason was seen."""
        rest = self._rest()
        if self._unfinished or not self._finished:
            raise UpstreamBroken("the upstream's stream ended before its finish reason")
        if self._wants_usage and not self._usage_sent and self._usage_held is not f.ABSENT:
            rest += self._usage_frame()  # older snapshots put it on the finish frame (wire §4.1)
        return rest + event(DONE)

    def fail(self, error: GatewayError) -> bytes:
        """Return the frame that ends a stream which cannot be completed. No `[DONE]` follows it."""
        return event(openai_error(error))

    def _frame(self, data: bytes) -> bytes:
        if self.done or not data:
            return b""
        if data.startswith(DONE):
            self.done = True
            return b""
        chunk = f.decoded(_chunk, data, f.FRAME)
        if f.present(chunk.error):
            raise error_inside(data)
        if chunk.usage is not None:
            self.usage = chunk.usage
        if not chunk.choices:
            return self._without_choices(data, chunk)
        if not self.began:
            self.began = _begins(data)
        if chunk.usage is not None:
            data = self._without_usage(data)
        for at, choice in enumerate(chunk.choices):
            if self._follow(choice):
                data = _relabelled(data, (at,), f.FRAME)
        if self._filter_results is not f.ABSENT:
            data = self._merge_filter_results(data)
        self._last = data = self._renamed(data, chunk)
        return event(data)

    def _without_choices(self, data: bytes, chunk: _Chunk) -> bytes:
        if chunk.usage is not None:
            if not self._wants_usage:
                return b""
            self._usage_sent = True
            return event(self._renamed(data, chunk))
        if f.present(chunk.prompt_filter_results):
            self._filter_results = msgspec.Raw(bytes(chunk.prompt_filter_results))
            return b""
        return event(self._renamed(data, chunk)) if chunk.model else b""

    def _follow(self, choice: _Choice) -> bool:
        """Follow the choice to its end; return whether it is told with a wrong finish reason (wire §4.6)."""
        index = choice.index
        if self._finish_fix and choice.delta is not None and choice.delta.tool_calls:
            self._with_tools.add(index)
        if not choice.finish_reason:
            if index not in self._finished:
                self._unfinished.add(index)
            return False
        self._unfinished.discard(index)
        self._finished.add(index)
        wrong = choice.finish_reason == "stop" and index in self._with_tools
        self.finish_reason = _CALLED if wrong else choice.finish_reason
        return wrong

    def _renamed(self, data: bytes, chunk: _Chunk) -> bytes:
        if not self._wants_usage:
            data = data.replace(b',"usage":null', b"", 1)  # there only because we asked (trap 8)
        if not chunk.model:
            return data
        return renamed(data, "model", chunk.model, self._model, f.FRAME)

    def _merge_filter_results(self, data: bytes) -> bytes:
        members = f.decoded(f.decoder, data, f.FRAME)
        members.setdefault("prompt_filter_results", self._filter_results)
        self._filter_results = f.ABSENT
        return _encode(members)

    def _without_usage(self, data: bytes) -> bytes:
        """Take usage off a frame with choices: it is told once, at the end, to those who asked (trap 8)."""
        members = f.decoded(f.decoder, data, f.FRAME)
        self._usage_held = msgspec.Raw(bytes(members.pop("usage")))
        return _encode(members)

    def _usage_frame(self) -> bytes:
        members = f.decoded(f.decoder, self._last, f.FRAME)
        members["choices"] = msgspec.Raw(b"[]")
        members["usage"] = self._usage_held
        return event(_encode(members))


def _begins(data: bytes) -> bool:
    choices = f.decoded(_open, data, f.FRAME).choices
    return any(
        says_more(choice, _METADATA) or says_more(choice.get("delta") or {}, _ROLE) for choice in choices
    )
