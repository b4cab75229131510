"""Anthropic Messages as clients send them, into the pivot (wire §8.6 to §8.8). Answers: `messages_answer`.

Claude itself is reached by `through.messages`. This is the way to every other model: what only Anthropic's
own servers can do is refused, or dropped by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from services.errors import BadRequest
from services.translation.callers import messages_blocks as sent
from services.translation.callers.decoding import Form, strangers, take, take_settings, take_whole, unknown
from services.translation.callers.envelopes import anthropic_error
from services.translation.callers.messages_answer import MessagesWriter, render
from services.translation.conversation import (
    Block,
    Conversation,
    OutputFormat,
    Reasoning,
    Text,
    Tool,
    ToolChoice,
    Turn,
)
from services.translation.dialects import Caller
from services.translation.fields import ABSENT, Fields, present
from services.translation.signatures import with_call_signatures

_SAMPLING = ("temperature", "top_p", "top_k")
_READ = frozenset(
    {
        "anthropic_beta", "anthropic_version", "max_tokens", "messages", "model", "output_config",
        "output_format", "stop_sequences", "stream", "system", "thinking", "tool_choice", "tools", *_SAMPLING,
    }
)  # fmt: skip

TOOL_MEMBERS = frozenset({"type", "name", "description", "input_schema", "cache_control"})
"""What every Claude behind SAP AI Core takes of a tool (wire §5.2)."""

CLIENT_TOOLS = (None, "custom")
"""Types of tools that the caller runs itself."""


class _Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[sent.AnyBlock]


class _Tool(msgspec.Struct):
    type: str | None = None
    name: str = ""
    input_schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: sent.Cache | None = None


class _Choice(msgspec.Struct):
    type: Literal["auto", "any", "none", "tool"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class _Format(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class _OutputConfig(msgspec.Struct):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: _Format | None = None


_decoder = msgspec.json.Decoder
_integer = _decoder(int)
_messages: Form[list[_Message]] = Form(list[_Message])
_system_prompt: Form[str | list[sent.TextBlock]] = Form(str | list[sent.TextBlock])
_tool_list: Form[list[_Tool]] = Form(list[_Tool])
_choice: Form[_Choice] = Form(_Choice)
_thinking: Form[_Thinking] = Form(_Thinking)
_format: Form[_Format] = Form(_Format)
_config: Form[_OutputConfig] = Form(_OutputConfig)
_texts = _decoder(list[str])


def parse(body: Fields) -> Conversation:
    """Return what the caller asks. Raises BadRequest naming the field."""
    max_tokens = take(body, "max_tokens", _integer)
    if max_tokens is None:
        raise BadRequest("'max_tokens' is required", param="max_tokens")
    dropped = list(unknown(body, _READ))
    thinks = present(body.get("thinking", ABSENT))
    tools = _tools(body, dropped)
    choice, parallel = _tool_choice(body, tools, dropped)
    config = take_whole(body, "output_config", _config, dropped) or _OutputConfig()
    wanted = config.format or take_whole(body, "output_format", _format, dropped)
    betas = take(body, "anthropic_beta", _texts)
    settings = take_settings(body, _SAMPLING)
    if stops := take(body, "stop_sequences", _texts):
        settings["stop"] = stops
    return Conversation(
        turns=_turns(body, dropped),
        system=_system(body, dropped),
        tools=tools,
        tool_choice=choice,
        parallel_tools=parallel,
        max_tokens=max_tokens,
        reasoning=_reasoning(body, config, dropped),
        output=OutputFormat(schema=wanted.schema, strict=True) if wanted else None,
        settings=settings,
        names={
            "stop": "stop_sequences",
            "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
            "reasoning_effort": "thinking" if thinks else "output_config.effort",
            "response_format": "output_config.format" if config.format else "output_format",
        },
        betas=tuple(betas or ()),
        dropped=tuple(dict.fromkeys(dropped)),
    )


# --- the conversation ----------------------------------------------------------------------------------


def _turns(body: Fields, dropped: list[str]) -> tuple[Turn, ...]:
    messages = take_whole(body, "messages", _messages, dropped)
    if not messages:
        raise BadRequest("'messages' is required and must not be empty", param="messages")
    return tuple(_turn(message, f"messages[{at}]") for at, message in enumerate(messages))


def _turn(message: _Message, path: str) -> Turn:
    content = message.content
    if isinstance(content, str):
        return Turn(message.role, (Text(content),) if content else ())
    blocks = [block.neutral(f"{path}.content[{at}]") for at, block in enumerate(content)]
    if message.role == "system":
        _check_system(blocks, path)
    return Turn(message.role, tuple(with_call_signatures(blocks)))


def _check_system(blocks: Sequence[Block], path: str) -> None:
    for at, block in enumerate(blocks):
        if not isinstance(block, Text):
            raise BadRequest("a system message holds nothing but text", param=f"{path}.content[{at}].type")


def _system(body: Fields, dropped: list[str]) -> tuple[Text, ...]:
    system = take_whole(body, "system", _system_prompt, dropped)
    if isinstance(system, str):
        return (Text(system),) if system else ()
    return tuple(block.neutral("system") for block in system or ())


# --- tools ---------------------------------------------------------------------------------------------


def _tools(body: Fields, dropped: list[str]) -> tuple[Tool, ...]:
    lost: list[str] = []
    tools = take_whole(body, "tools", _tool_list, lost)
    if tools is None:
        return ()
    ours = [tool if tool.type in CLIENT_TOOLS else None for tool in tools]
    dropped += (str(tool.type) for tool in tools if tool.type not in CLIENT_TOOLS)
    if lost:  # in any of them; of those that are left out nothing more is said
        dropped += strangers(body["tools"], ours, "tools")
    return tuple(_tool(tool, f"tools[{at}]") for at, tool in enumerate(ours) if tool is not None)


def _tool(tool: _Tool, path: str) -> Tool:
    if not tool.name:
        raise BadRequest(f"'{path}.name' is required", param=f"{path}.name")
    if tool.input_schema is None:
        raise BadRequest(f"'{path}.input_schema' is required", param=f"{path}.input_schema")
    cache = sent.mark(tool.cache_control)
    return Tool(tool.name, tool.description or "", tool.input_schema, tool.strict, cache)


def _tool_choice(
    body: Fields, tools: tuple[Tool, ...], dropped: list[str]
) -> tuple[ToolChoice | None, bool | None]:
    choice = take_whole(body, "tool_choice", _choice, dropped)
    if choice is None:
        return None, None
    if not tools:
        dropped.append("tool_choice")
        return None, None
    if choice.type == "tool" and choice.name not in {tool.name for tool in tools}:
        raise BadRequest(
            f"'tool_choice.name' is none of the tools that this model can be given: {choice.name!r}",
            param="tool_choice.name",
        )
    return ToolChoice(choice.type, choice.name), False if choice.disable_parallel_tool_use else None


# --- how the answer is to be ---------------------------------------------------------------------------


def _reasoning(body: Fields, config: _OutputConfig, dropped: list[str]) -> Reasoning | None:
    thinking = take_whole(body, "thinking", _thinking, dropped)
    if thinking is None:
        return Reasoning(effort=config.effort) if config.effort else None
    if thinking.type == "disabled":
        if config.effort:
            dropped.append("output_config.effort")
        return Reasoning(effort="none")
    if thinking.type == "enabled" and thinking.budget_tokens is None:
        raise BadRequest("'thinking.budget_tokens' is required", param="thinking.budget_tokens")
    return Reasoning(
        effort=config.effort or "",
        budget=thinking.budget_tokens if thinking.type == "enabled" else None,
        adaptive=thinking.type == "adaptive",
        shown=None if thinking.display is None else thinking.display == "summarized",
    )


CALLER = Caller(
    surface="messages", parse=parse, render=render, writer=MessagesWriter, envelope=anthropic_error
)
