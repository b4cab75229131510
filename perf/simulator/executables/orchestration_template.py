"""Prompt templates: `{{?name}}` is filled in, every other sign of a template is an error (wire §4.7).

What stands in a value is not read again (u); messages of the history are not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from perf.simulator.executables.orchestration_errors import INPUT, TEMPLATING, Failure, fails
from perf.simulator.executables.orchestration_messages import Message, mapped

_SIGN = re.compile(r"\{\{\s*\?\s*(?P<name>[\w.-]+)\s*\}\}|\{\{(?P<other>.*?)\}\}|\{\{|\{%|\{#", re.DOTALL)


class Template:
    """Fills in parameters and remembers which ones were asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._asked: dict[str, None] = {}

    def filled(self, messages: list[Message]) -> list[Message]:
        """The messages with their parameters. Raises Failure for one that has no value."""
        filled = mapped(messages, lambda text: _SIGN.sub(self._replaced, text))
        missing = [name for name in self._asked if name not in self._values]
        if missing:
            raise _invalid(f"Missing required parameters: {missing}")
        return filled

    def _replaced(self, sign: re.Match[str]) -> str:
        name = sign["name"] or sign["other"]
        if name is None:
            raise fails(TEMPLATING, f"Error rendering the template: unexpected '{sign[0]}'.")
        self._asked[name.strip()] = None
        return self._values.get(name, "")

    def refuse_unused(self, given: Iterable[str], used: Iterable[str]) -> None:
        """Refuse parameters that nothing asked for; `used` are those that other modules read.

        Raises Failure.
        """
        unused = [name for name in given if name not in self._asked and name not in used]
        if unused:
            raise _invalid(f"Unused parameters: {unused}")


def _invalid(what: str) -> Failure:
    return fails(INPUT, f"Error validating parameters. {what}")
