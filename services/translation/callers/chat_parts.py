"""Parts of chat messages, as blocks (wire §8.2, §8.4).

`cache_control`, Anthropic's cache mark, is read beside OpenAI's own `prompt_cache_breakpoint`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from services.errors import BadRequest
from services.translation.conversation import Audio, Block, CacheMark, Document, Image, Text

B = TypeVar("B", bound=Block)
P = TypeVar("P")

# --- the form ----------------------------------------------------------------------------------------


class CacheControl(msgspec.Struct):
    """Anthropic's cache mark, as an extension. It has one type."""

    ttl: str | None = None
    type: Any = None


class Breakpoint(msgspec.Struct):
    """OpenAI's own cache mark. It has one mode."""

    ttl: str | None = None
    mode: Any = None


class _Part(msgspec.Struct, kw_only=True, tag_field="type"):
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class TextPart(_Part, tag="text"):
    """Text."""

    text: str


class RefusalPart(_Part, tag="refusal"):
    """What the model said earlier instead of an answer."""

    refusal: str


class _ImageURL(msgspec.Struct):
    url: str
    detail: str | None = None


class ImagePart(_Part, tag="image_url"):
    """A picture."""

    image_url: _ImageURL


class _File(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(_Part, tag="file"):
    """A document."""

    file: _File


class _Sound(msgspec.Struct):
    data: str
    format: str


class AudioPart(_Part, tag="input_audio"):
    """Sound."""

    input_audio: _Sound


AnyPart = TextPart | RefusalPart | ImagePart | FilePart | AudioPart


# --- to the pivot ------------------------------------------------------------------------------------


def texts(content: str) -> tuple[Text, ...]:
    """Return plain content as blocks; none for empty text, which many upstreams refuse (trap 31)."""
    return (Text(content),) if content else ()


def blocks(content: str | Iterable[AnyPart], place: str) -> tuple[Block, ...]:
    """Return the content that stands at `place`, without empty text. Raises BadRequest."""
    return texts(content) if isinstance(content, str) else read_parts(content, place, _block)


def read_parts(parts: Iterable[P], place: str, read: Callable[[P, str], B]) -> tuple[B, ...]:
    """Return the parts as `read` has them, without empty text."""
    said = (read(part, f"{place}[{n}]") for n, part in enumerate(parts))
    return tuple(one for one in said if not (isinstance(one, Text) and not one.text))


def _block(part: AnyPart, place: str) -> Block:
    cache = mark(part.cache_control, part.prompt_cache_breakpoint)
    match part:
        case TextPart(text=text) | RefusalPart(refusal=text):
            return Text(text, cache)
        case ImagePart(image_url=one):
            return image(one.url, one.detail, cache, f"{place}.image_url.url")
        case FilePart(file=file):
            check_sent(file.file_id, f"{place}.file")
            return document(file.file_data or "", file.filename, cache, f"{place}.file.file_data")
        case _:
            return Audio(f"audio/{part.input_audio.format}", part.input_audio.data)


def image(url: str, detail: str | None, cache: CacheMark | None, place: str) -> Image:
    """Return a picture by its URL, which may hold its data. Raises BadRequest."""
    detail = detail or ""
    if url.startswith(("https://", "http://")):
        return Image(url=url, detail=detail, cache=cache)
    media_type, data = _data_of(url, place)
    return Image(media_type, data, detail=detail, cache=cache)


def document(uri: str, title: str | None, cache: CacheMark | None, place: str) -> Document:
    """Return a file by its data URI. Raises BadRequest."""
    title = title or ""
    media_type, data = _data_of(uri, place)
    if media_type.startswith("text/"):
        return Document("text/plain", text=_decoded(data, place), title=title, cache=cache)
    return Document(media_type, data, title=title, cache=cache)


def check_sent(file_id: str | None, place: str) -> None:
    """Raise BadRequest for a file that is only named by the id that OpenAI gave it."""
    if file_id:
        raise BadRequest("SAP AI Core keeps no files; send the data itself", param=f"{place}.file_id")


_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[^;,]*)*;base64,", re.IGNORECASE)


def _data_of(uri: str, place: str) -> tuple[str, str]:
    """Return media type and base64 data of a data URI. Raises BadRequest for anything else."""
    found = _DATA_URI.match(uri)
    if found is None:
        raise BadRequest(f"'{place}' must be a data URI: data:<media type>;base64,<data>", param=place)
    return found[1].lower(), uri[found.end() :]


def _decoded(data: str, place: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError as exc:
        raise BadRequest(f"'{place}' is not UTF-8 text in base64", param=place) from exc


# --- cache marks -------------------------------------------------------------------------------------

# OpenAI's lifetimes have no equal; the longer of Anthropic's two comes nearest.
_TTLS: Mapping[str, str] = {"30m": "1h", "12h": "1h"}


def mark(control: CacheControl | None, own: Breakpoint | None = None) -> CacheMark | None:
    """Return the cache mark that a member asks for, in Anthropic's form or in OpenAI's."""
    if control is not None:
        return CacheMark(control.ttl or "")
    return CacheMark(_TTLS.get(own.ttl or "", "")) if own is not None else None


def marked(said: tuple[B, ...], control: CacheControl | None) -> tuple[B, ...]:
    """Return the blocks with a whole message's mark on the last of them."""
    if control is None or not said or not hasattr(said[-1], "cache"):
        return said
    return (*said[:-1], msgspec.structs.replace(said[-1], cache=mark(control)))
