"""Who calls: a key in any of four head fields, compared whole (trap 50)."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from sanic.compat import Header

from handlers.auth import authenticate, identify
from services.calls import ANONYMOUS, Caller
from services.container import Keys
from services.errors import Unauthorized
from tests.handlers.fakes import request


def keys(*texts: str) -> Keys:
    """These keys, each its own caller."""
    digests = {text: hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for text in texts}
    return Keys({digest: Caller(name=text, id=digest) for text, digest in digests.items()})


KEYS = keys("sk-one", "sk-two", "käse", "two words")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sk-one"},
        {"authorization": "bearer sk-one"},
        {"authorization": "Bearer   sk-one "},
        {"authorization": "sk-one"},
        {"Authorization": "Bearer sk-one"},
        {"x-api-key": "sk-one"},
        {"api-key": "sk-one"},
        {"X-Goog-Api-Key": "sk-one"},
        {"authorization": "Basic x", "x-api-key": "sk-one"},
        {"authorization": "Bearer wrong", "api-key": "sk-one"},
    ],
)
def test_trap_50_a_key_is_found_where_clients_put_it(headers: dict[str, str]) -> None:
    """Trap 50: also raw in Authorization, as older clients send it; any valid one counts."""
    assert "sk-one" == identify(Header(headers), KEYS).name


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer xsk-onex"},
        {"authorization": "Bearer sk-on"},
        {"authorization": "Bearer sk-one sk-two"},
        {"authorization": "Bearer SK-ONE"},
        {"authorization": "Basic sk-one"},
        {"x-api-key": "Bearer sk-one"},
        {"x-api-key": "sk-one,"},
        {"cookie": "sk-one"},
        {"api-key": "sk-one" * 1000},
        {"x-api-key": "\udcff"},
    ],
)
def test_trap_50_nothing_but_the_whole_key_opens(headers: dict[str, str]) -> None:
    """Trap 50: no substring, no other case or place; one generic text, and no part of the key in it."""
    with pytest.raises(Unauthorized) as caught:
        identify(Header(headers), KEYS)
    assert (401, False) == (caught.value.status, "sk-" in str(caught.value))


@pytest.mark.parametrize("key", ["käse", "two words"])
def test_any_text_can_be_a_key(key: str) -> None:
    """Also one that is not ASCII, or has a space in it."""
    assert key == identify(Header({"authorization": f"Bearer {key}"}), KEYS).name


def test_a_table_that_lies_opens_nothing() -> None:
    """The holder's own digest is compared too."""
    digest = hashlib.sha256(b"sk-one").digest()

    with pytest.raises(Unauthorized):
        identify(Header({"x-api-key": "sk-one"}), Keys({digest: Caller("x", b"other")}))


def test_without_keys_everybody_is_anonymous() -> None:
    """Where that was allowed; whatever key they send."""
    open_to_all = Keys({}, anonymous=ANONYMOUS)

    assert [ANONYMOUS] * 2 == [identify(Header(head), open_to_all) for head in ({}, {"x-api-key": "any"})]


def test_no_keys_do_not_mean_open() -> None:
    """An empty table opens nothing."""
    with pytest.raises(Unauthorized):
        identify(Header({"x-api-key": ""}), Keys({}))


APP = SimpleNamespace(ctx=SimpleNamespace(services=SimpleNamespace(keys=KEYS)))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"public": False}, True),
        ({"public": None}, True),
        ({"public": True}, False),
        ({"method": "OPTIONS", "public": False}, False),
        ({"method": "OPTIONS", "public": None}, False),
    ],
)
def test_every_path_wants_a_key_unless_it_is_public(changes: dict[str, Any], wanted: bool) -> None:
    """Also paths that are not there; not preflights, which carry none (trap 60)."""
    one = request(app=APP, **changes)
    if wanted:
        with pytest.raises(Unauthorized):
            authenticate(one)
    else:
        authenticate(one)
        assert not hasattr(one.ctx, "caller")


def test_the_caller_is_noted_on_the_request() -> None:
    """For the handlers."""
    one = request(app=APP, public=False, x_api_key="sk-two")
    authenticate(one)

    assert "sk-two" == one.ctx.caller.name
