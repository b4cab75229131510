"""Every trap of the wire has a test that names it.

The traps are 62 mistakes that proxies for SAP AI Core have made, numbered in this order: streams, errors,
requests to Claude, to OpenAI's models, to Gemini, discovery and state, clients.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).parent
TRAPS = range(1, 63)
CANNOT_EXIST_HERE: Mapping[int, str] = {}
"""Number → why the gateway has nothing that could fall into it."""

_NAMED = re.compile(r"(?<![a-z])traps?[ _](\d+(?:(?:, | and |_and_)\d+)*)", re.IGNORECASE)


def named(source: str) -> Iterator[int]:
    """Numbers in the names and docstrings of the tests of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            said = f"{node.name} {ast.get_docstring(node) or ''}"
            for match in _NAMED.finditer(" ".join(said.split())):
                yield from map(int, re.findall(r"\d+", match[1]))


def test_numbers_are_found_where_they_stand() -> None:
    """In names and docstrings of tests, several at a time, and nowhere else."""
    source = '''
def test_trap_1_and_2_a(): ...
async def test_b():
    """It holds (traps 3, 4
    and 5); not trapped 6."""
def helper():
    """Trap 7."""
'''

    assert [1, 2, 3, 4, 5] == list(named(source))


def test_every_trap_is_named_by_a_test() -> None:
    """Those of the simulator do not count: they say nothing of the gateway."""
    sources = [path for path in TESTS.rglob("test_*.py") if TESTS / "perf" not in path.parents]
    found = {number for path in sources for number in named(path.read_text(encoding="utf-8"))}

    assert set() == set(TRAPS) - found - CANNOT_EXIST_HERE.keys()
    assert set() == found - set(TRAPS)
