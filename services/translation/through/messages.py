"""Anthropic Messages to Claude on Bedrock `invoke` (wire §4.3, §5.2, §8.6).

Both sides speak the same dialect: the body goes up with the edits that the wire document requires, and with
every member that nobody here knows. What comes back is in `messages_answer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec

from services.errors import BadRequest, UpstreamError
from services.translation import fields as f
from services.translation.callers.decoding import take
from services.translation.capabilities import ModelFacts, beta_flags
from services.translation.conversation import Conversation, Reasoning, Tool, ToolChoice, Turn
from services.translation.efforts import EFFORTS, nearest
from services.translation.fields import Fields
from services.translation.replies import Prepared, Target
from services.translation.rules import apply_rules, deterministic
from services.translation.through.messages_answer import MESSAGES, Form, MessagesRelay, read_answer
from services.translation.through.messages_prompt import suit_tools, suited
from services.translation.upstreams.claude_request import PATH, VERSION, has_dispensable, refused_member
from services.translation.upstreams.claude_thinking import SAMPLING, Plan, check_end, plan, sampling

_THINKS = ("enabled", "adaptive")
_ADAPTIVE = {"type": "adaptive"}
_FORCED = ("any", "tool")

# The model's defaults have the names of chat completions. Those that are not here say nothing to Claude.
_DEFAULTS: Mapping[str, str] = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
}


class _Thinking(msgspec.Struct, omit_defaults=True):
    type: str
    budget_tokens: int | None = None


class _Config(msgspec.Struct):
    effort: str | None = None


class _Choice(msgspec.Struct):
    type: str = ""


_decoder = msgspec.json.Decoder
_thinking = _decoder(_Thinking)
_choice = _decoder(_Choice)
_members = f.decoder
_config = _decoder(_Config)
_words = _decoder(list[str])
_integer = _decoder(int)
_number = _decoder(int | float)


def prepare(body: Fields, target: Target, *, stream: bool) -> Prepared:
    """Return the request for the model's deployments. Raises BadRequest naming a field it cannot honour."""
    return prepare_in(MESSAGES, body, target, stream=stream)


def prepare_in(form: Form, body: Fields, target: Target, *, stream: bool) -> Prepared:
    """Return the request, whose answer comes back in this form. Raises BadRequest as `prepare` does."""
    facts = target.facts
    asked = _with_defaults(body, target.defaults)
    out, dropped = apply_rules(asked, facts.native.get("messages", {}))
    lost = [*dropped]
    for name in ("model", "stream"):
        out.pop(name, None)
    out["anthropic_version"] = f.raw(VERSION)
    _filter_betas(out, facts, lost)
    turns = _suit_content(out, target, lost)
    _suit_format(asked, out, facts)
    _think(asked, out, turns, facts, lost)
    _sample(out, lost)
    return _prepared(form, out, tuple(dict.fromkeys(lost)), target, stream=stream)


def _prepared(form: Form, out: Fields, dropped: tuple[str, ...], target: Target, *, stream: bool) -> Prepared:
    model = target.public_name
    return Prepared(
        path=PATH[stream],
        body=msgspec.json.encode(out),
        dropped=dropped,
        deterministic=deterministic(out),
        answer=partial(read_answer, form=form, model=model),
        relay=partial(MessagesRelay, form=form, model=model) if stream else None,
        amend=partial(_amended, form, out, dropped, target, stream) if has_dispensable(out) else None,
    )


def _amended(
    form: Form, out: Fields, dropped: tuple[str, ...], target: Target, stream: bool, error: UpstreamError
) -> Prepared | None:
    """Return the request without what the model refused, if that is something it can do without."""
    name = refused_member(error, out)
    if not name:
        return None
    less = {member: value for member, value in out.items() if member != name}
    return _prepared(form, less, (*dropped, name), target, stream=stream)


# --- defaults, betas, content ---------------------------------------------------------------------------


def _with_defaults(body: Fields, defaults: Fields) -> Fields:
    """Return the caller's fields over the model's defaults; null is as if it were not there."""
    given = {name: value for name, value in body.items() if not f.is_null(value)}
    kept = {_DEFAULTS[name]: value for name, value in defaults.items() if name in _DEFAULTS}
    if "stop" in defaults:
        kept["stop_sequences"] = f.listed(defaults["stop"])
    effort = f.read(defaults, "reasoning_effort", str)
    if effort and not given.keys() & {"thinking", "output_config"}:
        off = effort == "none"
        kept["thinking"] = f.raw({"type": "disabled" if off else "adaptive"})
        kept |= {} if off else {"output_config": f.raw({"effort": effort})}
    return kept | given


def _filter_betas(out: Fields, facts: ModelFacts, lost: list[str]) -> None:
    asked = take(out, "anthropic_beta", _words) or []
    out.pop("anthropic_beta", None)
    if flags := beta_flags(asked, facts):
        out["anthropic_beta"] = f.raw(flags)
    lost += (flag for flag in asked if not beta_flags([flag], facts))


def _suit_content(out: Fields, target: Target, lost: list[str]) -> tuple[Turn, ...]:
    """Put content and tools right; return the outline of the turns."""
    prompt = suited(out, target.fetched)
    out["messages"] = prompt.messages
    out.pop("system", None)
    if prompt.system is not None:
        out["system"] = prompt.system
    check_end(Conversation(turns=()), prompt.turns, target.facts)
    lost += (*prompt.dropped, *suit_tools(out))
    return prompt.turns


# --- how the model is to answer ------------------------------------------------------------------------


def _suit_format(asked: Fields, out: Fields, facts: ModelFacts) -> None:
    """Put the answer's schema where models take it; its older name was `output_format`."""
    config = take(asked, "output_config", _members) or {}
    older = out.pop("output_format", None)
    named = f.present(config.get("format", f.ABSENT))
    if older is None and not named:
        return
    name = "output_config.format" if named else "output_format"
    if facts.json_schema != "native":
        raise BadRequest(f"'{name}' cannot be honoured: this model promises no schema", param=name)
    if older is not None:
        out["output_config"] = f.raw({"format": older} | config)


def _think(asked: Fields, out: Fields, turns: tuple[Turn, ...], facts: ModelFacts, lost: list[str]) -> None:
    """Ask for thinking in the model's own way, and for tokens enough (wire §5.2, trap 29)."""
    wish = take(out, "thinking", _thinking)
    config = take(asked, "output_config", _config)
    effort = (config and config.effort) or ""
    planned = plan(_wished(out, wish, effort), turns, facts)
    out.setdefault("max_tokens", f.raw(planned.max_tokens))
    if wish is not None and wish.type in _THINKS:
        _take_plan(out, wish, planned, lost)
        effort = effort or (planned.effort if planned.thinking == _ADAPTIVE else "")
    elif wish is not None and wish.type == "disabled" and not facts.thinking:
        del out["thinking"]
    if effort in EFFORTS and "effort" in facts.flags:
        members = take(out, "output_config", _members) or {}
        out["output_config"] = f.raw({**members, "effort": nearest(effort, facts.efforts)})


def _wished(out: Fields, wish: _Thinking | None, effort: str) -> Conversation:
    """Return as much of a conversation as a plan for thinking is made from."""
    reasoning = None
    if wish is not None and wish.type == "enabled":
        if wish.budget_tokens is None:
            raise BadRequest("'thinking.budget_tokens' is required", param="thinking.budget_tokens")
        reasoning = Reasoning(budget=wish.budget_tokens)
    elif wish is not None and wish.type == "adaptive":
        reasoning = Reasoning(effort=effort if effort in EFFORTS else "", adaptive=True)
    choice = take(out, "tool_choice", _choice)
    return Conversation(
        turns=(),
        reasoning=reasoning,
        max_tokens=take(out, "max_tokens", _integer),
        tools=(Tool(""),) if "tools" in out else (),
        tool_choice=ToolChoice("any") if choice is not None and choice.type in _FORCED else None,
    )


def _take_plan(out: Fields, wish: _Thinking, planned: Plan, lost: list[str]) -> None:
    """Write the plan down; what else the caller said of thinking stays."""
    thinking = planned.thinking
    if thinking is None:
        del out["thinking"]
        lost.append("thinking")
    elif thinking != msgspec.to_builtins(wish):
        members = take(out, "thinking", _members) or {}
        others = {name: value for name, value in members.items() if name != "budget_tokens"}
        out["thinking"] = f.raw({**others, **thinking})


def _sample(out: Fields, lost: list[str]) -> None:
    """Leave out the sampling parameters that Claude refuses together, or while it thinks."""
    thinking = take(out, "thinking", _thinking)
    given = {name: value for name in SAMPLING if (value := take(out, name, _number)) is not None}
    kept, refused = sampling(given, thinks=thinking is not None and thinking.type != "disabled")
    for name, value in given.items():
        if name not in kept:
            del out[name]
        elif kept[name] != value:
            out[name] = f.raw(kept[name])
    lost += refused
