"""What a deployment remembers of the responses it gave: for polling, and to go on from (wire §4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from perf.simulator.errors import Problem
from perf.simulator.executables.responses_items import Item
from perf.simulator.executables.validation import BadBody, convert

MAX_STORED = 1000

Response = dict[str, Any]


class Stored(msgspec.Struct):
    """One response that was given."""

    response: Response
    """As it is when all is done."""
    items: list[Item]
    """The whole conversation, the output last."""
    output: list[str]
    """The ids of its own items."""
    pending: list[Response] = []
    """What the next polls of a background response see before that."""
    done: bool = True
    """Whether it has been seen at its end."""

    @property
    def tokens(self) -> int:
        """Tokens of the whole conversation; 0 if it was cancelled."""
        return (self.response["usage"] or {}).get("total_tokens", 0)  # type: ignore[no-any-return]

    def poll(self) -> Response:
        """The response as it is now; every poll of a background response finds it further on."""
        if self.pending:
            return self.pending.pop(0)
        self.done = True
        return self.response

    def cancel(self) -> Response:
        """The response, which comes to nothing."""
        self.pending.clear()
        self.response |= {"status": "cancelled", "output": [], "usage": None, "completed_at": None}
        return self.response


class Store:
    """The responses of one deployment; another one does not know them."""

    def __init__(self) -> None:
        self._responses: dict[str, Stored] = {}
        self.items: dict[str, Item] = {}
        """Everything that an item may refer to, by its id."""

    def keep(self, response: Response, items: Sequence[Item], pending: Sequence[Response] = ()) -> None:
        """Remember a response; the oldest one makes room for it."""
        output = convert(response["output"], list[Item])
        made = {str(item["id"]): kept for item, kept in zip(response["output"], output, strict=True)}
        if len(self._responses) >= MAX_STORED:
            self.forget(next(iter(self._responses)))
        stored = Stored(response, [*items, *output], list(made), list(pending), done=not pending)
        self._responses[response["id"]] = stored
        self.items |= made

    def find(self, key: str) -> Stored:
        """A response by its id. Raises BadBody (404)."""
        stored = self._responses.get(key)
        if stored is None:
            raise BadBody(Problem(404, f"Response with id '{key}' not found."))
        return stored

    def previous(self, key: str | None) -> Stored | None:
        """The response to go on from, if one is named. Raises BadBody (404)."""
        if key is None:
            return None
        if key not in self._responses:
            raise BadBody(
                Problem(
                    404,
                    f"Previous response with id '{key}' not found.",
                    "previous_response_not_found",
                    "previous_response_id",
                )
            )
        return self._responses[key]

    def forget(self, key: str) -> None:
        """Delete a response and its items. Raises BadBody (404)."""
        for name in self.find(key).output:
            self.items.pop(name, None)
        del self._responses[key]
