"""Targets and request bodies."""

from __future__ import annotations

import json

import pytest

from perf.surfaces import ENDPOINTS, Question
from perf.workload import Target, Workload, bearer, fresh_prompt, prompt

EMBEDDINGS = Question(prompt(100), "m")


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
        ("http://h/v1", "/v1beta/models/m:generateContent", "/v1beta/models/m:generateContent"),
        ("http://h/v1", "/model/m/invoke", "/model/m/invoke"),
        ("http://h/v1", "/chat/completions", "/v1/chat/completions"),
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
    question = Question(prompt(size), "m", max_tokens=5, stream=True)
    work = Workload("chat", Target("http://h"), ENDPOINTS["chat"], question)
    head, _, sent_body = b"".join(work.parts()).partition(b"\r\n\r\n")

    assert f"content-length: {len(sent_body)}".encode() in head


def test_each_request_differs_from_the_last() -> None:
    """Or a gateway that shares identical work would be measured doing nothing."""
    work = Workload("e", Target("http://h"), ENDPOINTS["embeddings"], EMBEDDINGS)

    assert sent(work)[1] != sent(work)[1]


def test_a_second_run_does_not_repeat_the_first() -> None:
    """Or it would be served from a gateway's cache."""
    first, second = (Workload("e", Target("http://h"), ENDPOINTS["embeddings"], EMBEDDINGS) for _ in range(2))

    assert sent(first)[1] != sent(second)[1]


def test_identical_requests_are_identical() -> None:
    """To measure just that sharing."""
    work = Workload("e", Target("http://h"), ENDPOINTS["embeddings"], EMBEDDINGS, identical=True)

    assert work.parts() == work.parts()


def test_the_key_is_sent_as_a_bearer_token() -> None:
    """And only where there is one."""
    assert (bearer("k"), bearer(None)) == ({"authorization": "Bearer k"}, {})
