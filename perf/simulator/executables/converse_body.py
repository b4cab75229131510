"""Converse: which bodies Claude and Nova take, and how others are refused (wire §4.4, §5.3, §8.3).

Where the wire document is unsure (u): unknown members are refused, roles must alternate, a document needs a
text beside it, a tool's description cannot be empty, and Nova takes no additional fields but
`inferenceConfig.topK`.
"""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any

from perf.simulator.executables import checks, claude_body, signatures
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.checks import array, choice, record, single, text, whole
from perf.simulator.executables.claude_body import Generation
from perf.simulator.models import Model

MAX_CACHE_POINTS = 4

_NAME = text(r"^[a-zA-Z0-9_-]{1,64}$")
_FILE_NAME = text(r"^(?!.*\s\s)[\w\s()\[\]-]{1,200}$")
_BYTES = single({"bytes": checks.base64_bytes})
_CACHE_POINT = record({"type": choice("default")})
_IMAGE = record({"format": choice("png", "jpeg", "gif", "webp"), "source": _BYTES})
_FORMATS = choice("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md")


def _file_name(value: Any, where: str) -> None:
    try:
        _FILE_NAME(value, where)
    except Invalid as error:
        raise Invalid(
            "The document file name can only contain alphanumeric characters, whitespace characters, "
            "hyphens, parentheses, and square brackets. The name can't contain more than one consecutive "
            "whitespace character."
        ) from error


_DOCUMENT = record({"format": _FORMATS, "name": _file_name, "source": _BYTES})
_RESULT = record(
    {
        "toolUseId": _NAME,
        "content": array(
            single({"text": text(), "json": checks.mapping, "image": _IMAGE, "document": _DOCUMENT})
        ),
    },
    {"status": choice("success", "error")},
)
_REASONING = single(
    {
        "reasoningText": record({"text": text()}, {"signature": text()}),
        "redactedContent": checks.base64_bytes,
    }
)
_BLOCK = single(
    {
        "text": text(),
        "image": _IMAGE,
        "document": _DOCUMENT,
        "toolUse": record({"toolUseId": _NAME, "name": _NAME, "input": checks.mapping}),
        "toolResult": _RESULT,
        "reasoningContent": _REASONING,
        "cachePoint": _CACHE_POINT,
    }
)
_SPEC = record(
    {
        "name": _NAME,
        "inputSchema": single({"json": checks.both(checks.mapping, checks.typed("object"))}),
    },
    {"description": text(r"^.")},
)
_TOOL_CHOICE = single({"auto": record({}), "any": record({}), "tool": record({"name": _NAME})})

_BODY = record(
    {
        "messages": array(
            record({"role": choice("user", "assistant"), "content": array(_BLOCK)}),
            least=1,
        )
    },
    {
        "system": array(single({"text": text(), "cachePoint": _CACHE_POINT})),
        "inferenceConfig": record(
            {},
            {
                "maxTokens": whole(1),
                "temperature": checks.unit,
                "topP": checks.unit,
                "stopSequences": array(text(r"^.")),
            },
        ),
        "toolConfig": record(
            {"tools": array(single({"toolSpec": _SPEC, "cachePoint": _CACHE_POINT}), least=1)},
            {"toolChoice": _TOOL_CHOICE},
        ),
        "additionalModelRequestFields": checks.mapping,
        "additionalModelResponseFieldPaths": array(text("^/")),
    },
)
_CLAUDE_FIELDS = record(
    {},
    {
        "thinking": claude_body.THINKING,
        "output_config": claude_body.OUTPUT_CONFIG,
        "anthropic_beta": claude_body.BETAS,
        "top_k": whole(0),
    },
)
_NOVA_FIELDS = record({}, {"inferenceConfig": record({}, {"topK": whole(0)})})
_ADDITIONAL = "additionalModelRequestFields"

_USER_ONLY = ("image", "document", "toolResult")
_ASSISTANT_ONLY = ("toolUse", "reasoningContent")


def check(body: Any, model: Model) -> Generation:
    """Refuse what the model does not take. Raises Invalid."""
    _BODY(body, "")
    messages = body["messages"]
    _check_roles(messages, model)
    for place, message in enumerate(messages):
        _check_content(message, place, model)
    _check_system(body.get("system", ()))
    _check_pairs(messages)
    _check_tools(body)
    _check_cache_points(body)
    return _check_generation(body, model)


def _check_roles(messages: list[Any], model: Model) -> None:
    if messages[0]["role"] != "user":
        raise Invalid(
            "A conversation must start with a user message. Try again with a conversation that starts with a "
            "user message."
        )
    for before, message in pairwise(messages):
        if before["role"] == message["role"]:
            raise Invalid(
                "A conversation must alternate between user and assistant roles. Make sure the conversation "
                "alternates between user and assistant roles and try again."
            )
    if messages[-1]["role"] == "assistant" and model.claude is not None and not model.claude.prefill:
        raise Invalid(
            "This model does not support assistant message prefill. The conversation must end with a user "
            "message."
        )


def _check_content(message: Any, place: int, model: Model) -> None:
    kinds = [next(iter(block)) for block in message["content"]]
    if not kinds:
        raise Invalid(
            f"The content field in the Message object at messages.{place} is empty. Add a ContentBlock "
            "object to the content field and try again."
        )
    foreign = _ASSISTANT_ONLY if message["role"] == "user" else _USER_ONLY
    for number, (kind, block) in enumerate(zip(kinds, message["content"], strict=True)):
        where = f"messages.{place}.content.{number}"
        if kind in foreign:
            raise Invalid(f"{where}: {kind} is not allowed in a message of the role {message['role']}")
        if kind == "text" and not block["text"].strip():
            raise Invalid(
                f"The text field in the ContentBlock object at {where} is blank. Add text to the text field, "
                "and try again."
            )
        if kind == "image" and "image" not in model.input_types:
            raise Invalid("This model doesn't support the image content block that you provided.")
        if kind == "reasoningContent":
            _check_thought(block["reasoningContent"], where, model)
    if "document" in kinds and "text" not in kinds:
        raise Invalid(f"messages.{place}: a message with a document must also have a text")


def _check_thought(content: Any, where: str, model: Model) -> None:
    if model.claude is None:
        raise Invalid("This model doesn't support the reasoningContent field.")
    told = content.get("reasoningText")
    if told is None:
        genuine = signatures.sealed_here(base64.b64decode(content["redactedContent"]).decode("latin-1"))
    else:
        genuine = signatures.genuine(told["text"], told.get("signature", ""))
    if not genuine:
        raise Invalid(f"{where}: Invalid `signature` in `thinking` block")


def _check_system(system: Any) -> None:
    for place, block in enumerate(system):
        if not block.get("text", "x").strip():
            raise Invalid(
                f"The text field in the SystemContentBlock object at system.{place} is blank. Add text to "
                "the text field, and try again."
            )


def ids(message: Any, kind: str) -> list[str]:
    """The ids in a message's blocks of one kind."""
    return [block[kind]["toolUseId"] for block in message["content"] if kind in block]


def _check_pairs(messages: list[Any]) -> None:
    nothing: Any = {"content": []}
    for place, (before, message) in enumerate(zip([nothing, *messages], [*messages, nothing], strict=True)):
        called, answered = ids(before, "toolUse"), ids(message, "toolResult")
        missing = [name for name in called if name not in answered]
        if missing:
            raise Invalid(
                f"Expected toolResult blocks at messages.{place}.content for the following Ids: "
                f"{', '.join(missing)}"
            )
        if len(answered) > len(called) or len(answered) != len(set(answered)):
            raise Invalid(
                f"The number of toolResult blocks at messages.{place}.content exceeds the number of toolUse "
                "blocks of previous turn."
            )


def _check_tools(body: dict[str, Any]) -> None:
    used = any(ids(message, kind) for message in body["messages"] for kind in ("toolUse", "toolResult"))
    if "toolConfig" not in body:
        if used:
            raise Invalid(
                "The toolConfig field must be defined when using toolUse and toolResult content blocks."
            )
        return
    names = [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"] if "toolSpec" in tool]
    if not names:
        raise Invalid("toolConfig.tools: at least one toolSpec must be defined")
    if len(names) != len(set(names)):
        raise Invalid("toolConfig.tools: Tool names must be unique.")
    wanted = body["toolConfig"].get("toolChoice", {}).get("tool")
    if wanted is not None and wanted["name"] not in names:
        raise Invalid(f"toolConfig.toolChoice.tool: the tool '{wanted['name']}' is not in toolConfig.tools")


def _check_cache_points(body: dict[str, Any]) -> None:
    lists = [body.get("toolConfig", {}).get("tools", ()), body.get("system", ())]
    lists += [message["content"] for message in body["messages"]]
    found = sum("cachePoint" in block for blocks in lists for block in blocks)
    if found > MAX_CACHE_POINTS:
        raise Invalid(f"A maximum of {MAX_CACHE_POINTS} cachePoint blocks may be provided. Found {found}.")


def _check_generation(body: dict[str, Any], model: Model) -> Generation:
    config, more = body.get("inferenceConfig", {}), body.get(_ADDITIONAL, {})
    (_NOVA_FIELDS if model.claude is None else _CLAUDE_FIELDS)(more, _ADDITIONAL)
    asked = Generation(config.get("maxTokens"), config.get("temperature"), config.get("topP"))
    if model.claude is None:
        return asked
    asked.thinking, asked.output_config = more.get("thinking"), more.get("output_config")
    asked.anthropic_beta, asked.top_k = more.get("anthropic_beta"), more.get("top_k")
    choice = body.get("toolConfig", {}).get("toolChoice", {"auto": {}})
    asked.forced_tool = "auto" not in choice
    claude_body.check_generation(asked, model.claude)
    if asked.thinks:
        _check_thoughts_kept(body["messages"])
    return asked


def _check_thoughts_kept(messages: list[Any]) -> None:
    before = messages[-2] if len(messages) > 1 else {"content": []}
    if ids(before, "toolUse") and "reasoningContent" not in before["content"][0]:
        raise Invalid(
            f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but "
            "found something else. When `thinking` is enabled, a final `assistant` message must start with a "
            "thinking block."
        )
