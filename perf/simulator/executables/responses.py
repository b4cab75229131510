"""azure-openai's Responses API: `responses` and what hangs below it (wire §4.2).

Choices where the wire document is unsure (u): `api-version` may be left out, but an ill-formed one is 404
like that of chat completions. A background response is `queued` in the answer to its POST, `in_progress` at
the first poll and done at the second. A stored response is known to its deployment only.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any

from perf.simulator.answers import EventStream, Refused, Reply, reply_json
from perf.simulator.errors import Problem, azure, shaped
from perf.simulator.executables import chat, responses_body
from perf.simulator.executables.base import API_VERSION, Call, Handler
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.responses_answer import Answer, Script, wish
from perf.simulator.executables.responses_items import (
    Item,
    Message,
    as_message,
    check_items,
    check_order,
    encrypted,
    resolved,
)
from perf.simulator.executables.responses_store import Store, Stored
from perf.simulator.executables.validation import BadBody
from perf.simulator.models import Model

MAX_KEPT_BODY = 256 << 10
"""Larger bodies are read anew each time."""

_read = lru_cache(maxsize=64)(responses_body.read)


def _answering(handler: Callable[[Call, Store], Reply | EventStream]) -> Handler:
    """A handler with its deployment's store, whose complaints become refusals."""

    @wraps(handler)
    def answer(call: Call) -> Reply | EventStream:
        try:
            return handler(call, call.memory.setdefault("responses", Store()))
        except (BadBody, Invalid) as error:
            raise Refused(shaped(error.problem, azure)) from error

    return answer


@_answering
def create(call: Call, store: Store) -> Reply | EventStream:
    """`POST responses`."""
    model = _model(call)
    read = _read if len(call.body) <= MAX_KEPT_BODY else responses_body.read
    body = read(call.body, model)
    previous = store.previous(body.previous_response_id)
    items = _conversation(body.input, previous, store)
    plan = chat.plan(wish(body, model, items, call.pace.answer_tokens))
    answer = Answer(body, model, items, plan, cached=previous.tokens if previous else 0)
    stages = [answer.response(status) for status in ("queued", "in_progress")] if body.background else []
    if body.store is not False:
        store.keep(answer.final(), items, stages[1:])
    if not body.stream:
        return reply_json(stages[0] if stages else answer.final())
    script = Script(answer, call.pace.chunk_size, call.interval)
    return EventStream(script.steps(), script.opening, script.last, script.failed)


def _conversation(given: str | Sequence[Item], previous: Stored | None, store: Store) -> list[Item]:
    """What went before, and what is new. Raises BadBody and Invalid."""
    new = [Message("user", given)] if isinstance(given, str) else list(given)
    check_items(new, store.items)
    items = [*(previous.items if previous else ()), *resolved(new, store.items)]
    check_order(items)
    return items


@_answering
def show(call: Call, store: Store) -> Reply:
    """`GET responses/{id}`."""
    return reply_json(store.find(_id(call)).poll())


@_answering
def delete(call: Call, store: Store) -> Reply:
    """`DELETE responses/{id}`."""
    store.forget(_id(call))
    return reply_json({"id": _id(call), "object": "response.deleted", "deleted": True})


@_answering
def cancel(call: Call, store: Store) -> Reply:
    """`POST responses/{id}/cancel`; what was cancelled before stays so."""
    stored = store.find(_id(call))
    if not stored.response["background"]:
        raise Invalid("Cannot cancel a synchronous response.")
    if stored.done and stored.response["status"] != "cancelled":
        raise Invalid("Cannot cancel a completed response.")
    return reply_json(stored.cancel())


@_answering
def compact(call: Call, store: Store) -> Reply:
    """`POST responses/compact`: what the user said, and the rest as one item only the model can read."""
    body = responses_body.read_compact(call.body)
    items = _conversation(body.input, store.previous(body.previous_response_id), store)
    key = f"{random.getrandbits(192):048x}"
    said = [
        _listed(item, f"msg_{key}{place:02d}")
        for place, item in enumerate(items)
        if isinstance(item, Message) and item.role == "user"
    ]
    given = chat.prompt_tokens([as_message(item) for item in items], [])
    return reply_json(
        {
            "id": f"resp_{key}",
            "object": "response.compaction",
            "created_at": int(time.time()),
            "output": [
                *said,
                {"id": f"cmp_{key}", "type": "compaction", "encrypted_content": encrypted(key)},
            ],
            "usage": {
                "input_tokens": given,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 16,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": given + 16,
            },
        }
    )


def _listed(message: Message, key: str) -> dict[str, Any]:
    content = message.content
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    return {"id": key, "type": "message", "status": "completed", "content": parts, "role": "user"}


def _id(call: Call) -> str:
    _model(call)
    return call.subpath.split("/")[1]


def _model(call: Call) -> Model:
    """The deployment's model. Raises BadBody (404) for an ill-formed api-version."""
    assert call.model is not None, "only orchestration has no model"
    version = call.query.get("api-version")
    if version is not None and not API_VERSION.match(version):
        raise BadBody(Problem(404, "Resource not found", code="404"))
    return call.model


ROUTES: dict[str, Handler] = {
    "responses": create,
    "responses/compact": compact,
    "responses/{id}/cancel": cancel,
    "GET responses/{id}": show,
    "DELETE responses/{id}": delete,
}
