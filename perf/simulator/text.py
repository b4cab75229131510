"""Text that can be predicted: N tokens of filler, cuts into tokens, and counts.

A token is a word with the space before it; that is coarse, but the same for every caller and every run.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import cycle, islice
from typing import AnyStr

_FILLER = (
    "The tenant answers from a quiet room where every token is counted twice and each frame "
    "leaves on time so that whoever measures can trust the clock and compare one run with another"
)
_WORDS = _FILLER.split()

_HOPS = 64
_TOKEN = re.compile(r"\s*\S+|\s+$")


@lru_cache(maxsize=256)
def filler(tokens: int) -> tuple[str, ...]:
    """The first `tokens` tokens of the endless filler; always the same ones."""
    words = islice(cycle(_WORDS), tokens)
    return tuple(word if place == 0 else f" {word}" for place, word in enumerate(words))


def split(text: str) -> tuple[str, ...]:
    """Cut a text into its tokens; joined, they are the text again."""
    return tuple(_TOKEN.findall(text))


def holds(text: AnyStr, mark: AnyStr) -> bool:
    """Whether the mark is in the text. Going from one of its first characters to the next is cheap."""
    first = mark[:1]
    at = text.find(first)
    for _ in range(_HOPS):
        if at < 0 or text.startswith(mark, at):
            return at >= 0
        at = text.find(first, at + 1)
    return at >= 0 and text.find(mark, at) >= 0


def count(characters: int) -> int:
    """Tokens charged for a prompt of that many characters."""
    return (characters + 3) >> 2


def group(tokens: tuple[str, ...], size: int) -> tuple[str, ...]:
    """Join every `size` tokens, as a server does that flushes them together."""
    if size <= 1:
        return tokens
    return tuple("".join(tokens[at : at + size]) for at in range(0, len(tokens), size))
