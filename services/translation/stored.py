"""Ids of stored responses that say which deployment keeps them, and for whom (wire §4.2).

A response lives in the deployment that made it; no other knows it. The id that a caller gets carries all that
is needed to find it again, so that any worker on any machine can, also after a restart. The tag binds it to
its caller: it keeps one caller's ids from being used by another.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64

from services.errors import NotFound

_PREFIX = "resp_"
_TAG_BYTES = 9
_BETWEEN = b"\n"
_ID = re.compile(r"[A-Za-z0-9_-]+\Z")  # it becomes a part of a path, and the tag is no secret


def seal(response_id: str, origin: str, caller: str) -> str:
    """Return the id for the caller. `origin` is "sub-account/deployment", `caller` is `Target.caller`."""
    content = _BETWEEN.join((origin.encode(), response_id.encode()))
    return _PREFIX + urlsafe_b64encode(_tag(content, caller) + content).decode().rstrip("=")


def unseal(sealed: str, caller: str) -> tuple[str, str]:
    """Return the upstream's own id and its origin. Raises NotFound for an id that this caller never got."""
    opened = _opened(sealed, caller)
    if opened is None:
        raise missing(sealed)
    return opened


def previous(sealed: str, caller: str) -> tuple[str, str]:
    """Return the same for the response that a request goes on from. Raises NotFound."""
    opened = _opened(sealed, caller)
    if opened is None:
        raise missing_previous(sealed)
    return opened


def missing(response_id: str) -> NotFound:
    """Return the error for a response that is not there."""
    return NotFound(f"Response with id '{response_id}' not found.", param="response_id")


def missing_previous(response_id: str) -> NotFound:
    """Return the error for a response to go on from that is not there."""
    return NotFound(
        f"Previous response with id '{response_id}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


def _opened(sealed: str, caller: str) -> tuple[str, str] | None:
    text = sealed.removeprefix(_PREFIX)
    try:
        packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        tag, content = packed[:_TAG_BYTES], packed[_TAG_BYTES:]
        if not hmac.compare_digest(tag, _tag(content, caller)):
            return None
        origin, _, response_id = content.decode().partition(_BETWEEN.decode())
    except (NotBase64, ValueError):
        return None
    return (response_id, origin) if _ID.match(response_id) else None


def _tag(content: bytes, caller: str) -> bytes:
    return hmac.digest(caller.encode(), content, "sha256")[:_TAG_BYTES]
