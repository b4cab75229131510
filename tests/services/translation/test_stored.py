"""Ids that say where a stored response is (trap 41)."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given, strategies as st

from services.errors import NotFound
from services.translation import stored

ME, OTHER = "my tag", "another's tag"
ORIGIN = "main/d1a2b3c4"

ids = st.text(st.sampled_from("abcXYZ019_-"), min_size=1, max_size=60)


@given(ids, st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=40))
def test_an_id_comes_back_with_its_origin(response_id: str, origin: str) -> None:
    """Trap 41: whatever the deployment is called; and it looks like an id of OpenAI's."""
    sealed = stored.seal(response_id, origin, ME)

    assert (response_id, origin) == stored.unseal(sealed, ME) == stored.previous(sealed, ME)
    assert sealed.startswith("resp_")
    assert sealed.removeprefix("resp_").replace("-", "a").replace("_", "a").isalnum()


def test_the_same_id_is_always_sealed_the_same() -> None:
    """Any worker, after any restart."""
    assert stored.seal("resp_1", ORIGIN, ME) == stored.seal("resp_1", ORIGIN, ME)


FOREIGN = [
    "resp_0123456789abcdef",
    "resp_",
    "",
    "résp_ö",
    "resp_a",
    stored.seal("resp_1", ORIGIN, OTHER),
    stored.seal("resp_1", ORIGIN, ME)[:-1],
    stored.seal("../../other", ORIGIN, ME),
    stored.seal("", ORIGIN, ME),
    "resp_" + urlsafe_b64encode(stored._tag(b"\xff\xfe", ME) + b"\xff\xfe").decode(),
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_an_id_that_the_caller_never_got_is_not_found(foreign: str) -> None:
    """Neither OpenAI's own, nor another caller's, nor one that is made up to lead elsewhere."""
    with pytest.raises(NotFound) as caught:
        stored.unseal(foreign, ME)

    assert f"Response with id '{foreign}' not found." == caught.value.public


def test_nor_is_it_as_a_previous_response() -> None:
    """In OpenAI's words, which name the field."""
    with pytest.raises(NotFound) as caught:
        stored.previous("resp_x", ME)

    error = caught.value
    assert "Previous response with id 'resp_x' not found." == error.public
    assert (404, "previous_response_id") == (error.status, error.param)
    assert "previous_response_not_found" == error.code
