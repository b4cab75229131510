"""Traffic recordings: one line a request, redacted, bounded."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from services import recorder as module
from services.calls import Call, Caller, Reply
from services.deployments import Deployment
from services.recorder import Recorder
from services.translation import fields
from services.translation.callers import CALLERS
from services.translation.replies import Answer, Usage
from tests.services.waiting import until

BODY = fields.parse(b'{"model":"m","messages":[{"role":"user","content":"secret \\u00e9"}]}')


def ended(**changes: Any) -> Call:
    """A call that is over."""
    caller = Caller(name="team", id=b"digest")
    call = Call(surface="chat", caller=caller, request_id="r", started=time.perf_counter() - 1)
    call.model, call.status, call.body_bytes, call.stream = "m", 200, 77, True
    call.first_byte_at = call.started + 0.25
    source = Deployment("d1", "https://x", "main", "default")
    call.reply = Reply("m", source, 1, (), 0.2, answer=Answer(b"", usage=Usage(3, 4, 7)))
    for name, value in changes.items():
        setattr(call, name, value)
    return call


async def lines(path: Path, *calls: Call, bodies: bool = False, **members: Any) -> list[dict[str, Any]]:
    """What stands in the file after these calls."""
    recorder = Recorder(path, bodies=bodies)
    for call in calls:
        recorder.add(call, members.get("body", BODY))
    await recorder.aclose()
    return written(path)


def written(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def test_a_line_tells_what_replaying_needs(tmp_path: Path) -> None:
    """When, where to, how large, how long, how many tokens."""
    [line] = await lines(tmp_path / "r", ended())

    assert ("POST", "/v1/chat/completions", 77, True, "m", 200, 3, 4) == tuple(
        line[name]
        for name in (
            "method", "path", "body_bytes", "stream", "model", "status", "prompt_tokens", "completion_tokens",
        )
    )  # fmt: skip
    assert (250, True) == (line["first_byte_ms"], line["total_ms"] >= 1000)
    assert 0 <= time.monotonic() - 1 - line["at"] < 60


async def test_nothing_of_prompt_or_caller_is_written(tmp_path: Path) -> None:
    """Unless bodies are asked for, and never a key."""
    await lines(tmp_path / "r", ended())
    text = (tmp_path / "r").read_text()

    assert [] == [word for word in ("secret", "digest", "team") if word in text]


async def test_bodies_are_written_where_asked_for(tmp_path: Path) -> None:
    """As they came."""
    [line] = await lines(tmp_path / "r", ended(), bodies=True)

    assert [{"role": "user", "content": "secret é"}] == line["body"]["messages"]


@pytest.mark.parametrize("body", [None, BODY])
async def test_a_failed_call_is_recorded_too(tmp_path: Path, body: Any) -> None:
    """With what is known of it."""
    call = ended(reply=None, first_byte_at=None, status=502, stream=False)
    [line] = await lines(tmp_path / "r", call, body=body)

    assert (502, None, None, None) == (
        line["status"], line["first_byte_ms"], line["prompt_tokens"], line["completion_tokens"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("surface", "stream", "path"),
    [
        ("chat", True, "/v1/chat/completions"),
        ("completions", True, "/v1/completions"),
        ("messages", True, "/v1/messages"),
        ("responses", True, "/v1/responses"),
        ("embeddings", False, "/v1/embeddings"),
        ("gemini", False, "/v1beta/models/a%2Fb:generateContent"),
        ("gemini", True, "/v1beta/models/a%2Fb:streamGenerateContent?alt=sse"),
        ("bedrock", False, "/model/a%2Fb/invoke"),
        ("bedrock", True, "/model/a%2Fb/invoke-with-response-stream"),
    ],
)
async def test_every_surface_has_its_own_path(tmp_path: Path, surface: str, stream: bool, path: str) -> None:
    """A replay asks where the caller asked, with the model in the path where it belongs."""
    [line] = await lines(tmp_path / "r", ended(surface=surface, stream=stream, model="a/b"))

    assert path == line["path"]


def test_every_surface_of_the_gateway_can_be_recorded() -> None:
    """None is forgotten when one is added: that would break its answers, for their end is written here."""
    assert {*CALLERS, "embeddings"} <= module._PATHS.keys()


async def test_requests_about_stored_answers_are_left_out(tmp_path: Path) -> None:
    """They have no body, and nobody else could answer them."""
    recorder = Recorder(tmp_path / "r")
    recorder.add(ended(surface="responses", body_bytes=0), None)
    await recorder.aclose()

    assert not (tmp_path / "r").exists()


async def test_two_workers_may_write_to_one_file(tmp_path: Path) -> None:
    """They append."""
    await lines(tmp_path / "r", ended())

    assert 2 == len(await lines(tmp_path / "r", ended()))


async def test_lines_are_written_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to close it first."""
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.001)
    recorder = Recorder(tmp_path / "r")
    recorder.add(ended(), None)
    await until(lambda: (tmp_path / "r").exists() and (tmp_path / "r").read_bytes())

    await recorder.aclose()
    assert 1 == len((tmp_path / "r").read_bytes().splitlines())


async def test_what_comes_during_a_write_is_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write at a time, and closing waits for the last."""
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.001)
    recorder = Recorder(tmp_path / "r")
    entered, go = threading.Event(), threading.Event()
    write = recorder._write

    def slow(some: list[dict[str, Any]]) -> None:
        entered.set()
        go.wait(5)
        write(some)

    monkeypatch.setattr(recorder, "_write", slow)
    recorder.add(ended(), None)
    await asyncio.to_thread(entered.wait, 5)
    recorder.add(ended(), None)
    await until(lambda: recorder._timer)
    timer = recorder._timer
    await until(lambda: recorder._timer is not timer)  # the flush that finds the disk busy comes again later
    go.set()
    await recorder.aclose()

    assert 2 == len((tmp_path / "r").read_bytes().splitlines())


async def test_what_does_not_fit_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded."""
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    recorder = Recorder(tmp_path / "r")
    for _ in range(5):
        recorder.add(ended(), None)
    await recorder.aclose()

    assert (3, 2) == (recorder.dropped, len((tmp_path / "r").read_bytes().splitlines()))


async def test_a_file_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    """What was lost is counted."""
    recorder = Recorder(tmp_path / "missing" / "r")
    recorder.add(ended(), None)
    await recorder.aclose()

    assert 1 == recorder.dropped


async def test_closing_an_unused_recorder_writes_nothing(tmp_path: Path) -> None:
    """Not even a file."""
    await Recorder(tmp_path / "r").aclose()

    assert not (tmp_path / "r").exists()
