"""What a token service answers: a token and how long it lives, or why not (wire §2.2, §2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.causes import kind_of
from services.control_plane import Answer, retry_after
from services.errors import UpstreamBroken, UpstreamError

LAST_MOMENT_SECONDS, LAST_MOMENT_SHARE = 5.0, 0.05
LEAST_LIFETIME_SECONDS, LONGEST_LIFETIME_SECONDS = 1.0, 30 * 86_400.0
MAX_TOKEN_CHARACTERS = 65_536

# What an operator can do about it; anything else gets no advice.
_ADVICE: Mapping[int, str] = {
    400: "the token service does not accept this client id",
    401: "the client id or the secret is wrong, or the service key was deleted",
    403: "the service key may not ask for tokens",
    404: "the token URL is wrong",
    429: "the token service limits us",
}
_REDIRECTS = "a redirect is not followed: is the token URL wrong, or does a login page answer?"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token; times in seconds on the clock of whoever asked for it."""

    text: str = field(repr=False)
    expires_at: float
    lifetime: float

    def usable_until(self) -> float:
        """Return when to use it last: it must still be good when the upstream looks at it."""
        return self.expires_at - min(LAST_MOMENT_SECONDS, self.lifetime * LAST_MOMENT_SHARE)


def read(answer: Answer, *, sent_at: float, place: str) -> Token:
    """Return the token of an answer. Raises `UpstreamError` of the kind that the status stands for.

    `place` is who answered, for the log.
    """
    body = answer.json()
    if answer.status != 200:
        raise _refused(answer, body, place)
    if not isinstance(body, dict):
        raise _unusable(place, f"with something that is not a JSON object ({answer.media_type()})")
    text = body.get("access_token")
    if not isinstance(text, str) or not _is_sendable(text):
        raise _unusable(place, "without a usable access_token")
    lifetime = _seconds(body.get("expires_in"))
    if lifetime is None:
        raise _unusable(place, "without a usable expires_in")
    return Token(text, sent_at + lifetime, lifetime)


def _refused(answer: Answer, body: Any, place: str) -> UpstreamError:
    code = body.get("error") if isinstance(body, dict) else None
    # Only a word of OAuth's own is repeated: a description may echo what was sent.
    is_word = isinstance(code, str) and len(code) < 50 and code.replace("_", "").isalpha()
    detail = f"{place} answered {answer.status}" + (f" {code}" if is_word else "")
    advice = _REDIRECTS if 300 <= answer.status < 400 else _ADVICE.get(answer.status)
    return kind_of(answer.status)(
        f"{detail}: {advice}" if advice else detail, retry_after=retry_after(answer.headers)
    )


def _unusable(place: str, what: str) -> UpstreamBroken:
    return UpstreamBroken(f"{place} answered 200 {what}")


def _seconds(value: object) -> float | None:
    """Read a lifetime: a number of at least a second, or one written as a string."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= LEAST_LIFETIME_SECONDS:
        return None
    return float(min(value, LONGEST_LIFETIME_SECONDS))


def _is_sendable(token: str) -> bool:
    """Whether it can stand in the head of a request."""
    return (
        bool(token.strip()) and len(token) <= MAX_TOKEN_CHARACTERS and token.isascii() and token.isprintable()
    )
