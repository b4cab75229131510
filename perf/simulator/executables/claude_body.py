"""Claude's `invoke`: which bodies are taken, and how the others are refused (wire §4.3, §5.2).

Where the wire document is unsure (u): `metadata` gets the misleading refusal; images and documents come as
base64 or text, never by URL; tools have no members but name, description and schema; betas that have to be
renamed are as invalid as those that have to be dropped; objects of a structured answer's schema must forbid
additional properties.
"""

from __future__ import annotations

from typing import Any

import msgspec

from perf.simulator.executables import checks, claude_turns
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.checks import Check, array, choice, record, tagged, text, text_or, whole
from perf.simulator.models import Claude, Model

VERSION = "bedrock-2023-05-31"
MAX_BREAKPOINTS = 4
LONG_CONTEXT = "context-1m-2025-08-07"
WRONG_ROLE = "role 'system' is not supported on this model"

INVALID_BETAS = frozenset(
    {
        "prompt-caching-2024-07-31",
        "prompt-caching-scope-2026-01-05",
        "extended-cache-ttl-2025-04-11",
        "redact-thinking-2026-02-12",
        "mcp-servers-2025-12-04",
        "skills-2025-10-02",
        "files-api-2025-04-14",
        "message-batches-2024-09-24",
        "managed-agents-2026-04-01",
        "code-execution-2025-05-22",
        "fast-mode-2026-02-01",
        "output-300k-2026-03-24",
        "user-profiles-2026-03-24",
        "advisor-tool-2026-03-01",
        "cache-diagnosis-2026-04-07",
        "thinking-token-count-2026-05-13",
        "server-side-fallback-2026-06-01",
        "fallback-credit-2026-06-01",
        "advanced-tool-use-2025-11-20",
    }
)

_NAME = text(r"^[a-zA-Z0-9_-]{1,64}$")
_ID = text(r"^[a-zA-Z0-9_-]+$")
_MARK = {"cache_control": tagged({"ephemeral": record({}, {"ttl": choice("5m", "1h")})})}
_IMAGES = choice("image/jpeg", "image/png", "image/gif", "image/webp")

_TEXT = record({"text": text()}, {**_MARK, "citations": checks.anything})
_IMAGE = record(
    {"source": tagged({"base64": record({"media_type": _IMAGES, "data": checks.base64_bytes})})}, _MARK
)
_SOURCES = {
    "base64": record({"media_type": choice("application/pdf"), "data": checks.base64_bytes}),
    "text": record({"media_type": choice("text/plain"), "data": text()}),
    "content": record({"content": text_or(array(tagged({"text": _TEXT, "image": _IMAGE})))}),
}
_DOCUMENT = record(
    {"source": tagged(_SOURCES)},
    {"title": text(), "context": text(), "citations": checks.mapping, **_MARK},
)
_FOUND = record(
    {"source": text(), "title": text(), "content": array(tagged({"text": _TEXT}))},
    {"citations": checks.mapping, **_MARK},
)
_SHOWN: dict[str, Check] = {"text": _TEXT, "image": _IMAGE, "document": _DOCUMENT, "search_result": _FOUND}
_RESULT = record(
    {"tool_use_id": _ID}, {"content": text_or(array(tagged(_SHOWN))), "is_error": checks.boolean, **_MARK}
)
_BLOCKS = {
    "user": tagged({**_SHOWN, "tool_result": _RESULT}),
    "assistant": tagged(
        {
            "text": _TEXT,
            "tool_use": record({"id": _ID, "name": _NAME, "input": checks.mapping}, _MARK),
            "thinking": record({"thinking": text(), "signature": text()}),
            "redacted_thinking": record({"data": text()}),
        }
    ),
}
_MESSAGES = {
    role: record({"role": checks.anything, "content": text_or(array(block))})
    for role, block in _BLOCKS.items()
}


def _message(value: Any, where: str) -> None:
    role = value.get("role") if isinstance(value, dict) else None
    if role == "system":
        raise Invalid(WRONG_ROLE)
    if role not in _MESSAGES:
        raise Invalid(f"{where}.role: Input should be 'user' or 'assistant'")
    _MESSAGES[role](value, where)


_CUSTOM = record(
    {
        "name": _NAME,
        "input_schema": checks.both(checks.mapping, checks.typed("object")),
    },
    {"description": text(), **_MARK},
)


def _tool(value: Any, where: str) -> None:
    tagged({"custom": _CUSTOM})({"type": "custom", **value} if isinstance(value, dict) else value, where)


_SERIAL = {"disable_parallel_tool_use": checks.boolean}
_TOOL_CHOICE = tagged(
    {
        "auto": record({}, _SERIAL),
        "any": record({}, _SERIAL),
        "tool": record({"name": _NAME}, _SERIAL),
        "none": record({}),
    }
)
_DISPLAY = {"display": choice("summarized", "omitted")}
THINKING = tagged(
    {
        "enabled": record({"budget_tokens": whole(1024)}, _DISPLAY),
        "adaptive": record({}, _DISPLAY),
        "disabled": record({}),
    }
)
OUTPUT_CONFIG = record(
    {},
    {
        "effort": choice("low", "medium", "high", "xhigh", "max"),
        "format": tagged({"json_schema": record({"schema": checks.both(checks.mapping, checks.closed)})}),
    },
)
BETAS = array(text())


def _stop_sequence(value: Any, where: str) -> None:
    text()(value, where)
    if not value.strip():
        raise Invalid("stop_sequences: each stop sequence must contain non-whitespace")


_BODY = record(
    {"anthropic_version": text(), "max_tokens": whole(1), "messages": array(_message, least=1)},
    {
        "system": text_or(array(tagged({"text": _TEXT}))),
        "tools": array(_tool),
        "tool_choice": _TOOL_CHOICE,
        "thinking": THINKING,
        "temperature": checks.unit,
        "top_p": checks.unit,
        "top_k": whole(0),
        "stop_sequences": array(_stop_sequence),
        "anthropic_beta": BETAS,
        "output_config": OUTPUT_CONFIG,
    },
)


class Generation(msgspec.Struct):
    """How an answer shall be made, whether asked by `invoke` or by `converse`."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    anthropic_beta: list[str] | None = None
    forced_tool: bool = False

    @property
    def thinks(self) -> bool:
        """Whether the answer begins with thoughts."""
        return self.thinking is not None and self.thinking["type"] != "disabled"

    @property
    def effort(self) -> str | None:
        """How hard it thinks; None for not at all."""
        return (self.output_config or {}).get("effort", "medium") if self.thinks else None

    @property
    def shows_thoughts(self) -> bool:
        """Whether they can be read."""
        return (self.thinking or {}).get("display") != "omitted"

    @property
    def schema(self) -> dict[str, Any] | None:
        """The schema of a structured answer."""
        schema: dict[str, Any] | None = (self.output_config or {}).get("format", {}).get("schema")
        return schema


def check(body: Any, model: Model) -> Generation:
    """Refuse what the model does not take. Raises Invalid."""
    assert model.claude is not None, "the caller has looked"
    if isinstance(body, dict) and "metadata" in body:
        raise Invalid(WRONG_ROLE)
    _BODY(body, "")
    if body["anthropic_version"] != VERSION:
        raise Invalid("Invalid API version")
    _check_breakpoints(body)
    _check_tools(body)
    if isinstance(body.get("system"), list):
        claude_turns.check_text("system", body["system"])
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    asked = {name: body[name] for name in Generation.__struct_fields__ if name in body}
    generation = Generation(**asked, forced_tool=forced)
    check_generation(generation, model.claude)
    claude_turns.check(body["messages"], thinks=generation.thinks, prefill=model.claude.prefill)
    return generation


def check_generation(asked: Generation, claude: Claude) -> None:
    """Betas, limits, thinking and sampling. Raises Invalid."""
    if not INVALID_BETAS.isdisjoint(asked.anthropic_beta or ()):
        raise Invalid("invalid beta flag")
    if asked.output_config is not None and not claude.efforts:
        raise Invalid(f"output_config: {checks.EXTRA}")
    if asked.max_tokens is not None and asked.max_tokens > claude.max_output:
        raise Invalid(
            f"max_tokens: {asked.max_tokens} > {claude.max_output}, which is the maximum allowed number of "
            f"output tokens for {claude.snapshot}"
        )
    _check_sampling(asked, claude)
    if asked.thinks:
        _check_thinking(asked, claude)


def _check_sampling(asked: Generation, claude: Claude) -> None:
    if not claude.sampling:
        for name in ("temperature", "top_p", "top_k"):
            if getattr(asked, name) is not None:
                raise Invalid(f"`{name}` is deprecated for this model.")
    if asked.temperature is not None and asked.top_p is not None:
        raise Invalid(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        )


def _check_thinking(asked: Generation, claude: Claude) -> None:
    assert asked.thinking is not None
    kind = asked.thinking["type"]
    if kind not in claude.thinking:
        raise Invalid(_NOT_SUPPORTED[kind])
    budget = asked.thinking.get("budget_tokens", 0)
    if asked.max_tokens is not None and budget >= asked.max_tokens:
        raise Invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if asked.temperature not in (None, 1):
        raise Invalid("`temperature` may only be set to 1 when thinking is enabled.")
    if asked.top_p is not None and asked.top_p < 0.95:
        raise Invalid("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    if asked.top_k is not None:
        raise Invalid("`top_k` must be unset when thinking is enabled.")
    if asked.forced_tool:
        raise Invalid("Thinking may not be enabled when tool_choice forces tool use.")


_NOT_SUPPORTED = {
    "adaptive": "adaptive thinking is not supported on this model",
    "enabled": '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
    '"output_config.effort" to control thinking behavior.',
}


def _check_breakpoints(body: dict[str, Any]) -> None:
    found = sum(_marks(part) for part in (body.get("tools"), body.get("system"), body["messages"]))
    if found > MAX_BREAKPOINTS:
        raise Invalid(
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {found}."
        )


def _marks(value: Any) -> int:
    """Cache marks of blocks and of what they contain; schemas and inputs of tools are not looked into."""
    if isinstance(value, list):
        return sum(map(_marks, value))
    if not isinstance(value, dict):
        return 0
    return ("cache_control" in value) + _marks(value.get("content"))


def _check_tools(body: dict[str, Any]) -> None:
    names = [tool["name"] for tool in body.get("tools", ())]
    if len(names) != len(set(names)):
        raise Invalid("tools: Tool names must be unique.")
    wanted = body.get("tool_choice", {"type": "none"})
    if wanted["type"] != "none" and not names:
        raise Invalid("tool_choice: tool_choice may only be specified while providing tools")
    if wanted["type"] == "tool" and wanted["name"] not in names:
        raise Invalid(f"Tool '{wanted['name']}' not found in provided tools")
