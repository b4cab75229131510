"""What the catalogue says about a model's fields, done to a body that passes through or a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from services.errors import BadRequest
from services.translation import fields as f
from services.translation.capabilities import FieldRule, FieldRules, ModelFacts
from services.translation.conversation import SETTINGS, Conversation, OutputFormat, Reasoning, ToolChoice
from services.translation.efforts import EFFORTS, effort_of
from services.translation.fields import Fields

# --- bodies that pass through ------------------------------------------------------------------------


def with_defaults(body: Fields, defaults: Fields, rules: FieldRules) -> Fields:
    """Return the caller's fields over the model's defaults.

    A default gives way under either of its names: `max_tokens` of the caller beats a default for
    `max_completion_tokens` where the model takes only the latter.
    """
    if not defaults:
        return body
    given = {_sent_as(name, rules) for name in body}
    kept = {name: value for name, value in defaults.items() if _sent_as(name, rules) not in given}
    return kept | body


def _sent_as(name: str, rules: FieldRules) -> str:
    rule = rules.get(name)
    return name if rule is None or rule.rename_to is None else rule.rename_to


def apply_rules(body: Fields, rules: FieldRules) -> tuple[Fields, tuple[str, ...]]:
    """Return the fields as the model takes them, and the names of those that were dropped.

    Raises BadRequest for a field that the model cannot honour and that must not be dropped.
    """
    out: Fields = {}
    dropped: list[str] = []
    for name, value in body.items():
        rule = rules.get(name)
        if rule is None:
            out.setdefault(name, value)  # it is there only if another was renamed to it, and this one is null
        elif not f.is_null(value):
            _apply(rule, name, value, body, out, dropped)
    return out, tuple(dropped)


def _apply(
    rule: FieldRule, name: str, value: msgspec.Raw, body: Fields, out: Fields, dropped: list[str]
) -> None:
    if rule.rename_to is not None:
        if f.present(body.get(rule.rename_to, f.ABSENT)):
            dropped.append(name)
        else:
            out[rule.rename_to] = value
    elif rule.refuse:
        if _decoded(name, value) not in rule.allowed:
            raise refusal(name, rule)
    elif rule.kept_at_effort and f.read(body, "reasoning_effort", str) == rule.kept_at_effort:
        out[name] = value
    else:
        dropped.append(name)


def refusal(name: str, rule: FieldRule) -> BadRequest:
    """Return the 400 for a field that a model cannot honour, under the caller's name for it."""
    return BadRequest(f"'{name}' cannot be honoured: {rule.why}", param=name, code="unsupported_parameter")


def _decoded(name: str, value: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(value)
    except f.UNREADABLE as exc:
        raise BadRequest(f"'{name}' cannot be read", param=name) from exc


def deterministic(settings: Mapping[str, Any]) -> bool:
    """Whether a temperature of 0 or a seed asks for the same answer each time. Values may be encoded."""
    return _plain(settings.get("seed")) is not None or _plain(settings.get("temperature")) == 0


def _plain(value: Any) -> Any:
    """Return the value itself, None for one that cannot be read."""
    if not isinstance(value, msgspec.Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except f.UNREADABLE:
        return None


# --- conversations -----------------------------------------------------------------------------------

# Members of a conversation that have a rule's name, as the value that the rule looks at.
_MEMBERS: Mapping[str, str] = {
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tools",
    "max_tokens": "max_tokens",
    "reasoning_effort": "reasoning",
    "response_format": "output",
}
_EMPTY: Mapping[str, Any] = {"tools": ()}


def suited(
    conversation: Conversation, facts: ModelFacts, defaults: Fields, *, takes: frozenset[str] = frozenset()
) -> Conversation:
    """Return the conversation with the model's defaults, and without the fields that the model does not take.

    `takes` are fields that this way to the model takes whatever its rules say. What was left out is added to
    the conversation's `dropped`. Raises BadRequest for what must not be left out.
    """
    conversation = _defaulted(conversation, defaults)
    ruled = _ruled(conversation, facts.fields)
    if not ruled and not conversation.betas:  # nearly always
        return conversation
    settings = dict(conversation.settings)
    members: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in ruled:
        rule = facts.fields[name]
        if rule.rename_to is not None or name in takes:
            continue
        own = conversation.name_of(name)
        if rule.refuse:
            if value not in rule.allowed:
                raise refusal(own, rule)
        elif rule.kept_at_effort and _effort(conversation) == rule.kept_at_effort:
            continue
        else:
            dropped.append(own)
        if name in _MEMBERS:
            members[_MEMBERS[name]] = _EMPTY.get(name)
        else:
            del settings[name]
    if conversation.betas and not facts.betas:  # Claude's, by `invoke`
        members["betas"] = ()
        dropped.append("anthropic_beta")
    if not members and len(settings) == len(conversation.settings):
        return conversation
    return msgspec.structs.replace(
        conversation, settings=settings, dropped=(*conversation.dropped, *dropped), **members
    )


def _ruled(conversation: Conversation, rules: FieldRules) -> list[tuple[str, Any]]:
    """Return what the caller set and there are rules for, under their names."""
    found = [(name, value) for name, value in conversation.settings.items() if name in rules]
    for name, member in _MEMBERS.items():
        if name in rules:
            value = getattr(conversation, member)
            if value is not None and value != ():
                found.append((name, value))
    return found


def _effort(conversation: Conversation) -> str:
    return effort_of(conversation.reasoning) if conversation.reasoning else ""


class _Format(msgspec.Struct):
    type: Literal["json_object", "text"]


# Defaults are written in the names of chat completions.
_DEFAULTED: Mapping[str, tuple[str, Any]] = {
    "max_tokens": ("max_tokens", int),
    "max_completion_tokens": ("max_tokens", int),
    "parallel_tool_calls": ("parallel_tools", bool),
    "reasoning_effort": ("reasoning", lambda effort: Reasoning(effort=effort)),
    "tool_choice": ("tool_choice", lambda mode: ToolChoice("any" if mode == "required" else mode)),
    "response_format": ("output", lambda wanted: OutputFormat() if wanted["type"] == "json_object" else None),
}


_DEFAULT_KINDS: Mapping[str, Any] = {
    **SETTINGS,
    "stop": str | list[str],
    "max_tokens": int,
    "max_completion_tokens": int,
    "parallel_tool_calls": bool,
    "reasoning_effort": Literal[EFFORTS],
    "tool_choice": Literal["auto", "none", "required"],
    "response_format": _Format,
}


def fault_of_default(name: str, value: Any) -> str:
    """Return what is wrong with a configured default; empty for nothing, and for fields unknown here."""
    kind = _DEFAULT_KINDS.get(name)
    if kind is None:
        return ""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        return str(exc)
    return ""


def _defaulted(conversation: Conversation, defaults: Fields) -> Conversation:
    if not defaults:
        return conversation
    settings: dict[str, Any] = {}
    members: dict[str, Any] = {}
    for name, raw in defaults.items():
        value = msgspec.json.decode(raw)
        if name in _DEFAULTED:
            member, made = _DEFAULTED[name]
            if getattr(conversation, member) is None:
                members[member] = made(value)
        else:
            settings[name] = [value] if name == "stop" and isinstance(value, str) else value
    return msgspec.structs.replace(conversation, settings=settings | dict(conversation.settings), **members)
