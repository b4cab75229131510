"""Puts the result of a run into the README, between `<!-- begin run:NAME -->` and `<!-- end run:NAME -->`."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def pasted(text: str, name: str, result: str) -> str:
    """The README with the result in its place. Raises KeyError if there is none."""
    place = re.compile(rf"(<!-- begin run:{name} -->\n).*?(<!-- end run:{name} -->)", re.DOTALL)
    if place.search(text) is None:
        raise KeyError(f"the README has no place for run:{name}")
    return place.sub(lambda found: f"{found[1]}{result}\n{found[2]}", text)


def paste(name: str, result: str, *, readme: Path = README) -> None:
    """Write the result of a run into the README. Raises KeyError."""
    readme.write_text(pasted(readme.read_text(encoding="utf-8"), name, result), encoding="utf-8")
