"""Anthropic's content blocks as clients send them, each with its way into the pivot.

Kinds that are not here belong to Anthropic's own servers (server tools, containers, files): decoding refuses
them by name.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from services.errors import BadRequest
from services.translation import conversation as pivot, fields as f
from services.translation.signatures import unseal


class Cache(msgspec.Struct):
    """`cache_control`. Its `scope` means nothing outside Anthropic's API (wire §5.2)."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


def mark(cache: Cache | None) -> pivot.CacheMark | None:
    """Return the cache mark that a block carries."""
    return pivot.CacheMark(cache.ttl or "") if cache else None


# --- sources -------------------------------------------------------------------------------------------


class _Base64(msgspec.Struct, tag="base64"):
    media_type: str
    data: str


class _Url(msgspec.Struct, tag="url"):
    url: str


class _PlainText(msgspec.Struct, tag="text"):
    data: str
    media_type: Any = None  # there is one


class _Content(msgspec.Struct, tag="content"):
    content: str | list[TextBlock]


# --- blocks --------------------------------------------------------------------------------------------


class TextBlock(msgspec.Struct, tag="text"):
    """Text."""

    text: str
    cache_control: Cache | None = None
    citations: list[Any] | None = None

    def neutral(self, path: str) -> pivot.Text:
        """Return it as the pivot has it; `path` is where the caller wrote it."""
        return pivot.Text(self.text, mark(self.cache_control), tuple(self.citations or ()))


class ImageBlock(msgspec.Struct, tag="image"):
    """A picture."""

    source: _Base64 | _Url
    cache_control: Cache | None = None

    def neutral(self, path: str) -> pivot.Image:
        """Return it as the pivot has it."""
        cache = mark(self.cache_control)
        if isinstance(self.source, _Url):
            return pivot.Image(url=self.source.url, cache=cache)
        return pivot.Image(self.source.media_type, self.source.data, cache=cache)


class _Citations(msgspec.Struct):
    enabled: bool = False


class DocumentBlock(msgspec.Struct, tag="document"):
    """A file to read."""

    source: _Base64 | _Url | _PlainText | _Content
    title: str | None = None
    context: str | None = None
    citations: _Citations | None = None
    cache_control: Cache | None = None

    def neutral(self, path: str) -> pivot.Document:
        """Return it as the pivot has it; content in several blocks becomes one text."""
        bare = pivot.Document(
            title=self.title or "",
            context=self.context or "",
            citations=self.citations is not None and self.citations.enabled,
            cache=mark(self.cache_control),
        )
        return msgspec.structs.replace(bare, **_document_data(self.source))


def _document_data(source: _Base64 | _Url | _PlainText | _Content) -> dict[str, str]:
    match source:
        case _Base64(media_type, data):
            return {"media_type": media_type, "data": data}
        case _Url(url):
            return {"url": url}
        case _PlainText(text):
            return {"media_type": "text/plain", "text": text}
    return {"media_type": "text/plain", "text": _joined(source.content)}


def _joined(content: str | list[TextBlock]) -> str:
    return content if isinstance(content, str) else "\n\n".join(block.text for block in content)


class SearchResultBlock(msgspec.Struct, tag="search_result"):
    """Something the caller found, which the model may cite."""

    source: str
    title: str
    content: list[TextBlock]
    cache_control: Cache | None = None

    def neutral(self, path: str) -> pivot.Text:
        """Return it as text: no other model knows such blocks."""
        return pivot.Text(f"{self.title}\n{self.source}\n\n{_joined(self.content)}", mark(self.cache_control))


class ToolReferenceBlock(msgspec.Struct, tag="tool_reference"):
    """A tool that a search for tools found."""

    tool_name: str

    def neutral(self, path: str) -> pivot.Text:
        """Return its name (wire §5.2)."""
        return pivot.Text(self.tool_name)


class ToolUseBlock(msgspec.Struct, tag="tool_use"):
    """A call of the model's."""

    id: str
    name: str
    input: msgspec.Raw
    cache_control: Cache | None = None

    def neutral(self, path: str) -> pivot.ToolUse:
        """Return it as the pivot has it, the arguments as they were written."""
        try:
            arguments = bytes(self.input).decode()
        except UnicodeDecodeError as exc:
            raise BadRequest(f"'{path}.input' is not UTF-8", param=f"{path}.input") from exc
        if f.first_byte(self.input) != b"{":
            raise BadRequest(f"'{path}.input' must be an object", param=f"{path}.input")
        return pivot.ToolUse(self.id, self.name, arguments, cache=mark(self.cache_control))


class ToolResultBlock(msgspec.Struct, tag="tool_result"):
    """What a tool answered."""

    tool_use_id: str
    content: str | list[ResultBlock] | None = None
    is_error: bool | None = None
    cache_control: Cache | None = None

    def neutral(self, path: str) -> pivot.ToolResult:
        """Return it as the pivot has it."""
        return pivot.ToolResult(
            self.tool_use_id, self._parts(path), bool(self.is_error), mark(self.cache_control)
        )

    def _parts(self, path: str) -> tuple[pivot.Text | pivot.Image | pivot.Document, ...]:
        if isinstance(self.content, str):
            return (pivot.Text(self.content),) if self.content else ()
        return tuple(part.neutral(path) for part in self.content or ())


class ThinkingBlock(msgspec.Struct, tag="thinking"):
    """What the model thought, with its proof."""

    thinking: str
    signature: str | None = None

    def neutral(self, path: str) -> pivot.Thinking:
        """Return it with the dialect that signed it."""
        return pivot.Thinking(self.thinking, *unseal(self.signature or ""))


class RedactedBlock(msgspec.Struct, tag="redacted_thinking"):
    """Thinking that only the model can read."""

    data: str

    def neutral(self, path: str) -> pivot.Redacted:
        """Return it with the dialect that wrote it."""
        return pivot.Redacted(*unseal(self.data))


ResultBlock = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock
AnyBlock = (
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolUseBlock | ToolResultBlock
    | ThinkingBlock | RedactedBlock
)  # fmt: skip
