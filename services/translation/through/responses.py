"""OpenAI's Responses API, to Azure deployments (wire §4.2). What comes back is in `responses_answer`.

Both sides speak the same dialect, so nothing is rebuilt but what the wire document requires. Tools that are
no functions are refused up there: they are dropped, and reported. Ids of responses are bound to the
deployment that keeps them (`stored`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from services.errors import BadRequest, CallerError, UpstreamError
from services.translation import fields as f, stored
from services.translation.callers.decoding import take
from services.translation.capabilities import RESPONSES, ModelFacts
from services.translation.fields import Fields
from services.translation.replies import Answer, Prepared, Relay, Target
from services.translation.rules import apply_rules, deterministic
from services.translation.signatures import unseal
from services.translation.through.responses_answer import Down, ResponsesRelay
from services.translation.upstreams.responses_reader import ORIGIN

_TRUE = msgspec.Raw(b"true")
_encode = msgspec.json.encode
_FUNCTION = "function"
_ALLOWED = "allowed_tools"


class _Tool(msgspec.Struct):
    type: str


class _Choice(msgspec.Struct):
    type: str
    tools: list[msgspec.Raw] = []


class _Item(msgspec.Struct):
    type: str | None = None
    encrypted_content: str | None = None


_list: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_tool = msgspec.json.Decoder(_Tool)
_choice = msgspec.json.Decoder(_Choice)
_item = msgspec.json.Decoder(_Item)


# --- requests ----------------------------------------------------------------------------------------


def prepare(body: Fields, target: Target, *, stream: bool) -> Prepared:
    """Return the request for the model's deployments.

    Raises BadRequest naming a field it cannot honour, NotFound for a previous response that is not there.
    """
    out, dropped = _upward(body, target)
    if stream:
        out["stream"] = _TRUE
    return _bound(
        Prepared(
            path=_path("/responses", target),
            body=_encode(out),
            dropped=dropped,
            # Stored answers are two of a kind only while nobody deletes one of them.
            deterministic=deterministic(out) and f.read(out, "store", bool) is False,
            answer=Down(target).made,
            amend=_previous_missing(body),
        ),
        lambda origin: Down(target, origin).made,
        (lambda origin: partial(ResponsesRelay, Down(target, origin))) if stream else None,
    )


def compact(body: Fields, target: Target) -> Prepared:
    """Return the request that makes a conversation short. Raises BadRequest, NotFound."""
    _check_spoken(target, "responses/compact")
    if f.read(body, "stream", bool):
        raise BadRequest("'stream' cannot be honoured: this answer comes whole", param="stream")
    out, dropped = _upward(body, target)
    return Prepared(
        path=_path("/responses/compact", target),
        body=_encode(out),
        dropped=dropped,
        deterministic=False,
        answer=Down(target).kept,  # nothing is stored: its id leads nowhere
        amend=_previous_missing(body),
    )


def keeping(
    body: Fields,
    target: Target,
    *,
    response_id: str,
    method: str,
    operation: str = "",
    dropped: Sequence[str] = (),
) -> Prepared:
    """Return the request about a stored response. Raises NotFound for an id that this caller never got."""
    original, _ = stored.unseal(response_id, target.caller)
    _check_spoken(target, "responses/{id}")
    return _bound(
        Prepared(
            path=_path(f"/responses/{original}{operation}", target),
            body=b"{}" if method == "POST" else b"",
            dropped=tuple(dropped),
            deterministic=False,
            answer=Down(target).kept,
            amend=partial(_told_missing, original, stored.missing(response_id)),
            method=method,
        ),
        lambda origin: Down(target, origin).kept,
    )


def _bound(
    prepared: Prepared,
    answer: Callable[[str], Callable[[bytes], Answer]],
    relay: Callable[[str], Callable[[], Relay]] | None = None,
) -> Prepared:
    """Return the request so that its answers carry the deployment that they come from."""

    def bind(origin: str) -> Prepared:
        return msgspec.structs.replace(
            prepared, answer=answer(origin), relay=relay(origin) if relay else None, bind=None
        )

    return msgspec.structs.replace(bind(""), bind=bind)


def _path(path: str, target: Target) -> str:
    return f"{path}?api-version={target.api_version}"


def _check_spoken(target: Target, path: str) -> None:
    if target.facts.dialect != "azure-openai" or RESPONSES not in target.facts.modes:
        raise BadRequest(
            f"'{path}' is offered by GPT models with the Responses API only, not by '{target.public_name}'",
            param="model",
        )


def _previous_missing(body: Fields) -> Callable[[UpstreamError], Prepared | None] | None:
    given = f.read(body, "previous_response_id", str)
    return partial(_told_missing, "", stored.missing_previous(given)) if given else None


def _told_missing(original: str, missing: CallerError, error: UpstreamError) -> None:
    """Raise the caller's own error where a response is missing, and not the deployment (wire §4.2)."""
    if "not found" in str(error) and f"esponse with id '{original}" in str(error):
        raise missing


# --- the body ----------------------------------------------------------------------------------------


def _upward(body: Fields, target: Target) -> tuple[Fields, tuple[str, ...]]:
    """Return the fields as Azure takes them, and what was dropped."""
    rules = target.facts.native.get(RESPONSES, {})
    out, dropped = apply_rules(_with_defaults(body, target.defaults, target.facts), rules)
    out.pop("model", None)
    lost = [*dropped, *_without_foreign_tools(out), *_without_foreign_reasoning(out)]
    previous = f.read(out, "previous_response_id", str)
    if previous is not None:
        out["previous_response_id"] = f.raw(stored.previous(previous, target.caller)[0])
    return out, tuple(dict.fromkeys(lost))


# Defaults are written in the names of chat completions.
_DEFAULTS = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "parallel_tool_calls": "parallel_tool_calls",
    "temperature": "temperature",
    "top_p": "top_p",
}


def _with_defaults(body: Fields, defaults: Fields, facts: ModelFacts) -> Fields:
    """Return the caller's fields over the model's defaults, as far as this API and the model know them."""
    known, _ = apply_rules(defaults, facts.fields)
    kept = {_DEFAULTS[name]: value for name, value in known.items() if name in _DEFAULTS}
    out = kept | body
    if "reasoning_effort" in known:
        effort = {"effort": known["reasoning_effort"]}
        out["reasoning"] = f.raw(effort | (f.read(body, "reasoning", Fields) or {}))
    return out


def _without_foreign_tools(out: Fields) -> list[str]:
    """Leave functions as the only tools, and no choice of others (trap 41). Return what was dropped."""
    dropped: list[str] = []
    tools = take(out, "tools", _list)
    if tools:
        kept = [raw for n, raw in enumerate(tools) if _is_function(raw, f"tools[{n}]", dropped)]
        if len(kept) < len(tools):
            out["tools"] = f.raw(kept)
            tools = kept
    choice = out.get("tool_choice", f.ABSENT)
    if not f.present(choice):
        return dropped
    narrowed = _narrowed(choice, has_tools=bool(tools), had_others=bool(dropped))
    if narrowed is None:
        del out["tool_choice"]
        return [*dropped, "tool_choice"]
    out["tool_choice"] = narrowed
    return dropped


def _is_function(raw: msgspec.Raw, place: str, dropped: list[str]) -> bool:
    tool = take({place: raw}, place, _tool)
    kind = tool.type if tool else "null"
    if kind != _FUNCTION:
        dropped.append(kind)
    return kind == _FUNCTION


def _narrowed(choice: msgspec.Raw, *, has_tools: bool, had_others: bool) -> msgspec.Raw | None:
    """Return the choice among functions alone; None where none is left to choose."""
    if f.first_byte(choice) != b"{":
        return choice if has_tools or not had_others else None
    wanted = take({"tool_choice": choice}, "tool_choice", _choice)
    assert wanted is not None  # it is an object
    if wanted.type != _ALLOWED:
        return choice if wanted.type == _FUNCTION else None
    others: list[str] = []
    kept = [raw for n, raw in enumerate(wanted.tools) if _is_function(raw, f"tool_choice.tools[{n}]", others)]
    if not others:
        return choice
    return f.raw(f.decoder.decode(choice) | {"tools": f.raw(kept)}) if kept else None


def _without_foreign_reasoning(out: Fields) -> list[str]:
    """Leave out what another model thought earlier: Azure refuses what it did not encrypt itself."""
    given = out.get("input", f.ABSENT)
    if f.first_byte(given) != b"[" or b'"aicore.' not in bytes(given):
        return []
    items = _list.decode(given)
    kept = [raw for n, raw in enumerate(items) if not _is_foreign(raw, f"input[{n}]")]
    if len(kept) == len(items):
        return []
    out["input"] = f.raw(kept)
    return ["input.reasoning"]


def _is_foreign(raw: msgspec.Raw, place: str) -> bool:
    item = take({place: raw}, place, _item)
    if item is None or item.type != "reasoning":
        return False
    return unseal(item.encrypted_content or "", native=ORIGIN)[1] not in ("", ORIGIN)
