"""What the chat executables share: messages and their pairing, and the plan of an answer.

The answer is decided by the last message:

    echo: TEXT          answers TEXT
    [[tokens:N]]        answers N tokens of filler
    a tool's name       calls that tool, if tool_choice allows it; several names, several calls
    a tool result       answers `The tool answered: RESULT`
    anything else       `answer_tokens` of filler
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from perf.simulator import schemas, text
from perf.simulator.errors import Problem

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]

_TOKENS = re.compile(r"\[\[tokens:(\d{1,6})\]\]")


class Invalid(Exception):
    """The body is understood but not acceptable."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(400, message, code=code, param=param)


class FunctionCall(msgspec.Struct, gc=False):
    """A call as the assistant made it."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, gc=False):
    """One entry of `tool_calls`."""

    id: str
    function: FunctionCall
    type: str = "function"
    index: int | None = None


class Part(msgspec.Struct, gc=False):
    """One part of a message's content."""

    type: str
    text: str | None = None
    image_url: dict[str, Any] | None = None
    refusal: str | None = None


Content = str | list[Part] | None


class Message(msgspec.Struct, gc=False):
    """One message; unknown members are ignored here and refused by Azure's subclass."""

    role: Role
    content: Content = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    function_call: FunctionCall | None = None

    def length(self) -> int:
        """Characters that count as prompt."""
        return len(self.text())

    def text(self) -> str:
        """All text of the content."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text or "" for part in self.content or ())


class Function(msgspec.Struct, gc=False):
    """A function that may be called; its schema is read only if it is."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


class Tool(msgspec.Struct, gc=False):
    """One entry of `tools`."""

    type: Literal["function"]
    function: Function


class JsonSchema(msgspec.Struct, gc=False):
    """The schema of a structured answer."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, gc=False):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct, gc=False):
    """`stream_options`."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Wish(msgspec.Struct, gc=False):
    """What decides an answer, the same for every family."""

    last: Message
    default_tokens: int
    functions: list[Function]
    tool_choice: str | dict[str, Any] | None
    parallel: bool
    response_format: ResponseFormat | None
    stop: list[str]
    limit: int | None
    """Most tokens of the answer, reasoning included."""
    reasoning_tokens: int


class Plan(msgspec.Struct, gc=False):
    """An answer before it has a wire format."""

    tokens: tuple[str, ...]
    calls: list[FunctionCall]
    finish: str
    reasoning_tokens: int
    completion_tokens: int


def plan(wish: Wish) -> Plan:
    """Decide the answer. Raises Invalid for a tool choice that names no tool."""
    calls = _calls(wish)
    if calls:
        spent = sum(2 + text.count(len(call.arguments)) for call in calls)
        return Plan((), calls, "tool_calls", wish.reasoning_tokens, spent + wish.reasoning_tokens)
    tokens, stopped = _until_stop(_answer(wish), wish.stop)
    reasoning, finish = wish.reasoning_tokens, "stop"
    if wish.limit is not None and len(tokens) + reasoning > wish.limit:
        reasoning = min(reasoning, wish.limit)
        tokens, finish = tokens[: wish.limit - reasoning], "stop" if stopped and not tokens else "length"
    return Plan(tokens, [], finish, reasoning, len(tokens) + reasoning)


def _answer(wish: Wish) -> tuple[str, ...]:
    if wish.response_format is not None and wish.response_format.type != "text":
        schema = wish.response_format.json_schema
        return text.split(schemas.example_text(schema.schema or {}) if schema else '{"answer": "simulated"}')
    said = wish.last.text()
    if wish.last.role in ("tool", "function"):
        return text.split(f"The tool answered: {said}")
    if said[:5] == "echo:":
        return text.split(said[5:].lstrip())
    found = _TOKENS.search(said) if text.holds(said, "[[tokens:") else None
    return text.filler(int(found[1]) if found else wish.default_tokens)


def _until_stop(tokens: tuple[str, ...], stop: list[str]) -> tuple[tuple[str, ...], bool]:
    if not stop:
        return tokens, False
    whole = "".join(tokens)
    places = [at for at in (whole.find(word) for word in stop if word) if at >= 0]
    return (text.split(whole[: min(places)]), True) if places else (tokens, False)


def _calls(wish: Wish) -> list[FunctionCall]:
    chosen = _chosen(wish)
    return [FunctionCall(f.name, schemas.example_text(_schema(f))) for f in chosen]


def _chosen(wish: Wish) -> list[Function]:
    if not wish.functions or wish.tool_choice == "none":
        return []
    if isinstance(wish.tool_choice, dict):
        return [_named(wish.functions, wish.tool_choice)]
    if wish.last.role in ("tool", "function") and wish.tool_choice != "required":
        return []
    said = wish.last.text()
    wanted = [function for function in wish.functions if function.name in said]
    if not wanted and wish.tool_choice == "required":
        wanted = wish.functions[:1]
    return wanted if wish.parallel else wanted[:1]


def _named(functions: list[Function], choice: dict[str, Any]) -> Function:
    name = (choice.get("function") or choice).get("name")
    for function in functions:
        if function.name == name:
            return function
    raise Invalid(f"Tool choice 'function' {name!r} not found in 'tools' parameter.", param="tool_choice")


def _schema(function: Function) -> dict[str, Any]:
    schema = msgspec.json.decode(function.parameters) if bytes(function.parameters) else {}
    return schema if isinstance(schema, dict) else {}


def prompt_tokens(messages: list[Any], functions: list[Function]) -> int:
    """Tokens charged for the prompt: about four characters each, and some for every message and tool."""
    size = sum(message.length() for message in messages)
    tools = sum(len(bytes(f.parameters)) + len(f.description or "") for f in functions)
    return 3 + 4 * len(messages) + text.count(size) + text.count(tools)


def check_messages(messages: list[Any]) -> None:
    """Refuse what every server of this family refuses: contents and the pairing of tool calls.

    Raises Invalid.
    """
    open_calls: set[str] = set()
    for place, message in enumerate(messages):
        role = message.role
        if open_calls and role != "tool":
            raise _unanswered(open_calls, place)
        if role == "user" and type(message.content) is str:
            continue
        _check_content(message, place)
        if role == "tool":
            _check_answer(message, place, open_calls)
        elif role == "assistant" and message.tool_calls is not None:
            open_calls = _opened(message, place)
    if open_calls:
        raise _unanswered(open_calls, len(messages))


def _check_content(message: Any, place: int) -> None:
    where = f"messages.[{place}].content"
    if message.content is None:
        if message.role != "assistant" or not (
            message.tool_calls or message.function_call or message.refusal
        ):
            raise Invalid(
                f"Invalid value for 'content': expected a string, got null. - '{where}'", param=where
            )
        return
    if isinstance(message.content, str):
        return
    if not message.content:
        raise Invalid(f"[] is too short - '{where}'", param=where, code="empty_array")
    for number, part in enumerate(message.content):
        _check_part(part, message.role, f"messages[{place}].content[{number}]")


def _check_part(part: Part, role: str, where: str) -> None:
    known = {"user": ("text", "image_url"), "assistant": ("text", "refusal")}.get(role, ("text",))
    if part.type not in known:
        raise Invalid(
            f"Invalid value: '{part.type}'. Supported values are: {', '.join(map(repr, known))}.",
            param=f"{where}.type",
            code="invalid_value",
        )
    if getattr(part, part.type) is None:
        raise Invalid(
            f"Missing required parameter: '{where}.{part.type}'.",
            param=where,
            code="missing_required_parameter",
        )
    if part.image_url is not None and not str(part.image_url.get("url", "")).startswith(
        ("data:image/", "https://", "http://")
    ):
        raise Invalid("Invalid image URL.", param=f"{where}.image_url", code="invalid_image_url")


def _check_answer(message: Any, place: int, open_calls: set[str]) -> None:
    if message.tool_call_id is None:
        where = f"messages.[{place}].tool_call_id"
        raise Invalid(
            f"Missing parameter 'tool_call_id': messages with role 'tool' must have one. - '{where}'",
            param=where,
        )
    if message.tool_call_id not in open_calls:
        raise Invalid(
            "messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
            param=f"messages.[{place}].role",
        )
    open_calls.discard(message.tool_call_id)


def _opened(message: Any, place: int) -> set[str]:
    if not message.tool_calls:
        where = f"messages[{place}].tool_calls"
        raise Invalid(f"Invalid '{where}': empty array.", param=where, code="empty_array")
    return {call.id for call in message.tool_calls}


def _unanswered(open_calls: set[str], place: int) -> Invalid:
    return Invalid(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        "'tool_call_id'. The following tool_call_ids did not have response messages: "
        f"{', '.join(sorted(open_calls))}",
        param=f"messages.[{place}].role",
    )
