"""Targets and request bodies."""

from __future__ import annotations

import json

import pytest

from perf.workload import (
    ENDPOINTS,
    Target,
    Workload,
    bearer,
    chat_body,
    embeddings_body,
    fresh_prompt,
    prompt,
)  # fmt: skip


def sent(work: Workload) -> tuple[bytes, dict[str, object]]:
    """Head and body of the next request."""
    head, _, body = b"".join(work.parts()).partition(b"\r\n\r\n")
    return head, json.loads(body)


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("http://h", "/v1/models", "/v1/models"),
        ("http://h/v1", "/v1/models", "/v1/models"),
        ("http://h/v1/", "/health", "/health"),
        ("http://h/gw/v1", "/v1/models", "/gw/v1/models"),
        ("http://h/gw", "/v1/models", "/gw/v1/models"),
    ],
)
def test_the_base_url_may_end_in_v1_or_not(base: str, path: str, expected: str) -> None:
    """Both spellings are in the field."""
    assert expected == Target(base).path(path)


@pytest.mark.parametrize("url", ["h:1", "ftp://h", "http://", "http://user:secret@h"])
def test_a_bad_base_url_is_refused(url: str) -> None:
    """Also one with a password, which results would quote."""
    with pytest.raises(ValueError):
        Target(url)


@pytest.mark.parametrize("size", [0, 5, 11, 800, 175_000])
def test_the_prompt_has_exactly_the_size_asked_for(size: int) -> None:
    """To the byte."""
    assert (size, size) == (len(prompt(size).encode()), len(fresh_prompt(size).encode()))


@pytest.mark.parametrize("size", [0, 11, 800])
def test_the_content_length_is_that_of_the_body(size: int) -> None:
    """With and without a number in the prompt."""
    body = chat_body("m", prompt_bytes=size, max_tokens=5, stream=True)
    work = Workload("chat", Target("http://h"), ENDPOINTS["chat"], body=body, stream=True)
    head, _, sent_body = b"".join(work.parts()).partition(b"\r\n\r\n")

    assert f"content-length: {len(sent_body)}".encode() in head


def test_each_request_differs_from_the_last() -> None:
    """Or a gateway that shares identical work would be measured doing nothing."""
    work = Workload(
        "e", Target("http://h"), ENDPOINTS["embeddings"], body=embeddings_body("m", prompt_bytes=100)
    )

    assert sent(work)[1] != sent(work)[1]


def test_a_second_run_does_not_repeat_the_first() -> None:
    """Or it would be served from a gateway's cache."""
    body = embeddings_body("m", prompt_bytes=100)
    first, second = (Workload("e", Target("http://h"), ENDPOINTS["embeddings"], body=body) for _ in range(2))

    assert sent(first)[1] != sent(second)[1]


def test_identical_requests_are_identical() -> None:
    """To measure just that sharing."""
    body = embeddings_body("m", prompt_bytes=100)
    work = Workload("e", Target("http://h"), ENDPOINTS["embeddings"], body=body, identical=True)

    assert work.parts() == work.parts()


def test_the_key_is_sent_as_a_bearer_token() -> None:
    """And only where there is one."""
    assert (bearer("k"), bearer(None)) == ({"authorization": "Bearer k"}, {})
