"""A request's story, and who sent it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from services.accounts import Account
from services.calls import ANONYMOUS, Call, Caller, Reply
from services.deployments import Deployment
from services.translation.replies import Answer, Usage
from services.translation.through.chat import ChatRelay

SOURCE = Deployment("d1", "https://tenant.example", "main", "default")


def call(**fields: Any) -> Call:
    """A call that began a second ago."""
    one = Call(
        surface="chat", caller=Caller("team", b"digest"), request_id="r", started=time.perf_counter() - 1
    )
    for name, value in fields.items():
        setattr(one, name, value)
    return one


def reply(**fields: Any) -> Reply:
    """Where an answer came from."""
    known: dict[str, Any] = {
        "model": "m",
        "deployment": SOURCE,
        "attempts": 2,
        "dropped": (),
        "upstream_seconds": 0.9,
    }
    return Reply(**(known | fields))


@pytest.mark.parametrize(
    ("globs", "allowed"), [((), True), (("gpt-*",), True), (("text-*", "gpt-4o"), True), (("GPT-4o",), False)]
)
def test_a_key_is_for_the_models_that_it_names(globs: tuple[str, ...], allowed: bool) -> None:
    """By glob, in their case; none means all."""
    assert allowed is Caller("c", b"", models=globs).may_use("gpt-4o")


def test_the_story_of_an_answer() -> None:
    """Who, what, where from and how long; no key, no prompt, no address."""
    told = call(
        model="m",
        status=200,
        stream=True,
        reply=reply(upstream_id="u", answer=Answer(b"the text", Usage(3, 4, 7), "stop")),
    )
    told.first_token_at = told.started + 0.5
    story = told.story()

    assert {
        "request_id": "r", "surface": "chat", "caller": "team", "model": "m", "status": 200, "stream": True,
        "ttft_ms": 500.0, "served_by": "m", "sub_account": "main", "deployment": "d1", "attempts": 2,
        "upstream_ms": 900.0, "upstream_id": "u", "prompt_tokens": 3, "completion_tokens": 4,
        "finish_reason": "stop",
    } == {name: value for name, value in story.items() if name != "ms"}  # fmt: skip
    assert 1000 <= story["ms"] < 60_000
    assert not any(word in str(story) for word in ("the text", "digest", "tenant.example"))


@pytest.mark.parametrize(
    ("fields", "marks"),
    [
        ({"coalesced": True, "reply": reply()}, {"coalesced": True}),
        ({"reply": reply(cached=True)}, {"cached": True}),
        ({"attempts": 3}, {"attempts": 3}),
        ({}, {}),
    ],
)
def test_the_story_has_what_there_is(fields: dict[str, Any], marks: dict[str, Any]) -> None:
    """And nothing that is not."""
    story = call(**fields).story()
    told = {name: story[name] for name in ("coalesced", "cached", "attempts") if name in story}

    assert marks == {name: value for name, value in told.items() if name in marks}
    assert {"usage", "prompt_tokens", "finish_reason", "ttft_ms", "stream"}.isdisjoint(story)


def test_a_streams_usage_is_its_relays() -> None:
    """Known at its end; before, there is none."""
    relay = ChatRelay(model="m", wants_usage=False)
    one = reply(relay=relay)
    assert (None, "") == (one.usage, one.finish_reason)
    relay.usage, relay.finish_reason = Usage(1, 2, 3), "stop"

    assert (Usage(1, 2, 3), "stop") == (one.usage, one.finish_reason)


def test_our_own_time_is_without_the_upstreams() -> None:
    """And never negative."""
    assert 100 <= call(waited=0.9).own_milliseconds() < 60_000
    assert 0 == call(waited=99).own_milliseconds()
    assert 1000 <= call().own_milliseconds()


def test_without_keys_everybody_is_anonymous() -> None:
    """With all models."""
    assert ("anonymous", True) == (ANONYMOUS.name, ANONYMOUS.may_use("x"))


def head_of(tenant: str, *tokens: str) -> list[dict[str, str]]:
    """The heads of requests with these tokens."""
    account = Account(name="a", resource_group="rg", tenant_id=tenant, tokens=None)  # type: ignore[arg-type]
    heads = [account.head(token).decode().removesuffix("\r\n") for token in tokens]
    return [
        {name.lower(): value for name, value in (line.split(": ") for line in head.split("\r\n"))}
        for head in heads
    ]


def test_trap_49_the_head_names_group_client_and_tenant() -> None:
    """Trap 49: some tenants need their id; the others are sent none."""
    common = {
        "content-type": "application/json",
        "ai-resource-group": "rg",
        "ai-client-type": "aicore-gateway",
        "authorization": "Bearer t",
    }

    assert [common | {"ai-tenant-id": "z"}] == head_of("z", "t")
    assert [common] == head_of("", "t")


def test_a_new_token_makes_a_new_head() -> None:
    """And the old one is gone."""
    assert ["Bearer a", "Bearer a", "Bearer b"] == [
        one["authorization"] for one in head_of("", "a", "a", "b")
    ]
