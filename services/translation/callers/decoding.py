"""Members of a request, decoded strictly: an error names the place in the caller's own words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec

from services.errors import BadRequest
from services.translation.conversation import SETTINGS
from services.translation.fields import UNREADABLE, is_null

T = TypeVar("T")

_PLACE = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]+)`")
_NESTED = (dict, list)
_plain = msgspec.json.Decoder()
_KINDS: Mapping[str, Any] = {**SETTINGS, "stop": str | list[str]}
_SETTINGS = {name: msgspec.json.Decoder(kind) for name, kind in _KINDS.items()}


class Form(Generic[T]):
    """What a member may hold, in two readings: by `decoder`, and by one that takes no unknown members.

    What the strict one takes is whole; only where it refuses is there something to look for.
    """

    def __init__(self, kind: Any) -> None:
        self.decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)
        self.strict: msgspec.json.Decoder[T] = msgspec.json.Decoder(_strict(kind))


def _strict(kind: Any) -> Any:
    """Return the type with forms in it that refuse what they do not know."""
    if get_origin(kind) is list:
        return list[_strict(get_args(kind)[0])]  # type: ignore[misc]
    if get_origin(kind) in (Union, UnionType):
        return reduce(or_, map(_strict, get_args(kind)))
    return _twin(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else kind


@cache
def _twin(form: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return a strict subclass, so that all who know the form know it, too."""
    config = form.__struct_config__
    members = [
        (
            one.name,
            _strict(one.type),
            # One of the two at most is set.
            msgspec.field(default=one.default, default_factory=one.default_factory),  # type: ignore[call-overload]
        )
        for one in msgspec.structs.fields(form)
    ]
    return msgspec.defstruct(
        form.__name__,
        members,
        bases=(form,),
        tag_field=config.tag_field,
        tag=config.tag,
        kw_only=True,  # or members without a default could not follow others
        forbid_unknown_fields=True,
    )


def take(body: Mapping[str, msgspec.Raw], name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Return one member, None where it is missing or null. Raises BadRequest as `decoded` does."""
    raw = body.get(name)
    return None if raw is None or is_null(raw) else decoded(raw, name, decoder)


def take_whole(body: Mapping[str, msgspec.Raw], name: str, form: Form[T], lost: list[str]) -> T | None:
    """Return one member as `take` does; what stands in it and its form does not know is added to `lost`."""
    raw = body.get(name)
    return None if raw is None or is_null(raw) else decoded_whole(raw, name, form, lost)


def decoded(raw: msgspec.Raw, place: str, decoder: msgspec.json.Decoder[T]) -> T:
    """Return what stands at `place`.

    Raises BadRequest whose `param` is the place of the fault, such as `messages[2].content[0].type`.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as exc:
        raise _misfit(place, str(exc)) from exc
    except UNREADABLE as exc:
        raise BadRequest(f"'{place}' cannot be read: {exc}", param=place) from exc


def decoded_whole(raw: msgspec.Raw, place: str, form: Form[T], lost: list[str]) -> T:
    """Return what `decoded` does; what its form does not know is added to `lost`, without numbers."""
    try:
        return form.strict.decode(raw)
    except UNREADABLE:
        taken = decoded(raw, place, form.decoder)
    lost += strangers(raw, taken, place.partition("[")[0])
    return taken


def strangers(raw: msgspec.Raw, taken: Any, name: str) -> Iterable[str]:
    """Return what says something in `raw` and is not in `taken`, the same in its form.

    These are places without numbers, such as `messages.content.caller`, each once.
    """
    found: dict[str, None] = {}
    try:
        sent = _plain.decode(raw)
    except UNREADABLE:  # something that the form does not look at; nobody can say what it is
        return found
    _compare(sent, taken, name, found)
    return found


def _compare(sent: Any, taken: Any, place: str, found: dict[str, None]) -> None:
    if isinstance(taken, list):
        for one, kept in zip(sent, taken, strict=True):
            if one.__class__ in _NESTED:
                _compare(one, kept, place, found)
    elif isinstance(taken, msgspec.Struct):
        known = _members_of(type(taken))
        for name, value in sent.items():
            if name not in known:
                if value is not None:
                    found[f"{place}.{name}"] = None
            elif value.__class__ in _NESTED:
                _compare(value, getattr(taken, name), f"{place}.{name}", found)


@cache
def _members_of(form: type[msgspec.Struct]) -> frozenset[str]:
    config = form.__struct_config__
    return frozenset(form.__struct_fields__) | {config.tag_field or ""}


def _misfit(name: str, text: str) -> BadRequest:
    found = _PLACE.search(text)
    place = name + (found[1] if found else "")
    missing = _MISSING.search(text)
    if missing:
        place = f"{place}.{missing[1]}"
        return BadRequest(f"'{place}' is required", param=place)
    return BadRequest(f"'{place}': {_PLACE.sub('', text)}", param=place)


def take_settings(body: Mapping[str, msgspec.Raw], names: Collection[str]) -> dict[str, Any]:
    """Return those of the canonical settings that the body has; `stop` is a list. Raises BadRequest."""
    taken = {name: take(body, name, _SETTINGS[name]) for name in body if name in names}
    if not taken:
        return taken
    if isinstance(taken.get("stop"), str):
        taken["stop"] = [taken["stop"]]
    return {name: value for name, value in taken.items() if value not in (None, [])}


def unknown(body: Mapping[str, msgspec.Raw], known: Collection[str]) -> tuple[str, ...]:
    """Return the names of members that say something and are not `known`, in their order."""
    return tuple(name for name, raw in body.items() if name not in known and not is_null(raw))
