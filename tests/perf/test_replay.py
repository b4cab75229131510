"""Replay: when, what, and the comparison."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from perf.engine import Exchange
from perf.recording import Recorded, Recording
from perf.replay import Comparison, Player, Replayed, due_times, main, play, synthetic_body
from perf.workload import Target, encode
from tests.perf.stub import STREAMS, stub_server


class FakeTime:
    """A clock and an alarm that ring when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: float | None = None
        self.ring: Callable[[], None] = lambda: None

    def clock(self) -> float:
        """The time."""
        return self.now

    def alarm(self, ring: Callable[[], None]) -> FakeTime:
        """Stands in for the alarm's class."""
        self.ring = ring
        return self

    def set(self, due: float) -> None:
        """Note when to ring."""
        self.due = due

    def close(self) -> None:
        """Nothing to let go of."""

    def run(self) -> None:
        """Ring at each time set, until none is."""
        self.ring()
        while self.due is not None:
            self.now, self.due = self.due, None
            self.ring()


def lines(*ats: float) -> list[Recorded]:
    """Requests at these times."""
    return [Recorded(at=at, path="/v1/models", method="GET") for at in ats]


@pytest.mark.parametrize(("speed", "times"), [(1, [100, 100.5, 103]), (10, [100, 100.05, 100.3])])
async def test_requests_are_sent_at_their_times(speed: float, times: list[float]) -> None:
    """The first at once, the others as far behind it as they were, divided by the speed."""
    fake, sent = FakeTime(), []
    player = Player(
        due_times(iter(lines(7, 7.5, 10)), speed=speed),
        lambda recorded, due: sent.append((due, fake.now)),
        clock=fake.clock,
        alarm=fake.alarm,
    )
    fake.run()

    assert player.sent == 3
    assert [due for due, _ in sent] == pytest.approx(times)
    assert [now for _, now in sent] == pytest.approx(times)


async def test_a_late_sender_still_counts_from_when_it_was_due() -> None:
    """So a stall of the generator is seen, not forgotten."""
    fake, sent = FakeTime(), []
    player = Player(
        due_times(iter(lines(0, 1, 2)), speed=1),
        lambda recorded, due: sent.append(due),
        clock=fake.clock,
        alarm=fake.alarm,
    )
    fake.now = 105.0
    player.ring()

    assert sent == [100, 101, 102]


async def test_a_stopped_player_sends_no_more() -> None:
    """What is left can be resumed."""
    fake, sent = FakeTime(), []
    player = Player(
        due_times(iter(lines(0, 1)), speed=1),
        lambda recorded, due: sent.append(due),
        clock=fake.clock,
        alarm=fake.alarm,
    )
    player.ring()
    player.stop()
    fake.now = 200.0
    player.ring()

    assert (sent, player.sent) == ([100], 1)


PATHS = [
    "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/embeddings",
    "/v1beta/models/m:streamGenerateContent?alt=sse", "/model/m/invoke",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [200, 5_000])
def test_a_synthetic_body_has_the_recorded_size(path: str, size: int) -> None:
    """To the byte, where it is large enough for the fields."""
    recorded = Recorded(at=0, path=path, body_bytes=size, stream=True, model="m")

    assert len(encode(synthetic_body(recorded))) == size


def test_synthetic_bodies_differ() -> None:
    """Or a gateway that shares the work of identical requests would be measured doing nothing."""
    recorded = Recorded(at=0, path="/v1/embeddings", body_bytes=200, model="m")

    assert synthetic_body(recorded) != synthetic_body(recorded)


def test_recorded_headers_are_sent_but_never_those_that_frame_the_request() -> None:
    """Length and host are the replay's own."""
    headers = {"X-Team": "a", "Content-Length": "999", "Host": "old", "Connection": "close"}
    recorded = Recorded(at=0, path="/v1/chat/completions", body={"model": "m"}, headers=headers)
    head = (
        Replayed(recorded, Target("http://new"), {"authorization": "Bearer k"})
        .parts()[0]
        .partition(b"\r\n\r\n")[0]
    )

    assert head.split(b"\r\n")[1:] == [
        b"host: new",
        b"x-team: a",
        b"content-type: application/json",
        b"authorization: Bearer k",
        b"content-length: 13",
    ]


def answered(recorded: Recorded, status: int, failure: str | None) -> Exchange:
    """A finished exchange for a recorded line."""
    exchange = Exchange(Replayed(recorded, Target("http://h"), {}), 1e12, tag=recorded)
    exchange.status, exchange.failure, exchange.ended = status, failure, 1e12
    return exchange


def test_what_failed_then_and_fails_now_is_faithful() -> None:
    """A recorded 404 that is a 404 again is no failure of the target."""
    comparison = Comparison()
    comparison.record(answered(Recorded(at=0, path="/x", status=404), 404, "status"))

    assert (comparison.report()["measured"]["failed"], comparison.report()["statuses"]["same"]) == (0, 1)


def test_a_caller_who_left_had_seen_no_status() -> None:
    """So whatever is answered now is no difference."""
    comparison = Comparison()
    comparison.record(answered(Recorded(at=0, path="/x", status=499), 200, None))

    assert comparison.report()["statuses"] == {"same": 0, "different": 0, "pairs": [], "examples": []}


@pytest.mark.parametrize(("failure", "count"), [(None, 1), ("status", 0), ("unfinished", 0)])
def test_recorded_figures_are_those_of_the_requests_that_were_answered_again(
    failure: str | None, count: int
) -> None:
    """Side by side stand the same requests, or none."""
    comparison = Comparison()
    comparison.record(
        answered(Recorded(at=0, path="/x", status=200, total_ms=5, prompt_tokens=7), 503, failure)
    )
    recorded = comparison.report()["recorded"]

    assert (recorded["latency_ms"]["count"], recorded["tokens"]["prompt"]) == (count, 7 * count)
    assert comparison.report()["measured"]["latency_ms"]["count"] == count


def test_another_status_is_named() -> None:
    """With the request, and both statuses."""
    comparison = Comparison()
    comparison.record(answered(Recorded(at=2, path="/x", status=200), 503, "status"))

    assert "at 2 s POST /x: 200 recorded, 503 now" in comparison.report()["statuses"]["examples"][0]


@pytest.mark.e2e
@pytest.mark.parametrize("path", STREAMS)
async def test_a_stream_is_judged_by_its_path(tmp_path: Path, path: str) -> None:
    """Each goes where it went, and ends as its surface ends a stream; the first bytes are compared."""
    recording = tmp_path / "t.jsonl"
    line = {"at": 0, "path": path, "body_bytes": 200, "stream": True, "model": "gpt-5", "first_byte_ms": 5}
    recording.write_text(json.dumps(line) + "\n")
    async with stub_server() as stub:
        comparison, _ = await play(Recording(recording), Target(stub.url), headers={}, speed=1, timeout=1)
    report = comparison.report()

    assert ([path], {}) == ([seen[0] for seen in stub.seen], report["measured"]["errors"])
    assert [1, 1] == [report[side]["first_byte_ms"]["count"] for side in ("recorded", "measured")]


@pytest.mark.e2e
async def test_a_recording_is_replayed_over_the_wire(tmp_path: Path) -> None:
    """Each line arrives with the key given, and is compared with what was recorded."""
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"at":0.02,"path":"/v1/chat/completions","body_bytes":300,"stream":true,"model":"m","status":200,"first_byte_ms":5}\n'
        '{"at":0,"path":"/v1/models","method":"GET","status":200,"total_ms":3}\n'
    )
    async with stub_server() as stub:
        comparison, following = await play(
            Recording(path), Target(stub.url), headers={"authorization": "Bearer k"}, speed=2.0, timeout=1.0
        )
    report = comparison.report()

    assert (report["measured"]["ok"], report["statuses"]["same"], following) == (2, 2, 2)
    assert [(seen[0], seen[1]["authorization"], len(seen[2])) for seen in stub.seen] == [
        ("/v1/models", "Bearer k", 0),
        ("/v1/chat/completions", "Bearer k", 300),
    ]


def test_checking_a_recording_names_the_faulty_line(tmp_path: Path) -> None:
    """Without sending anything; exit status 1."""
    path = tmp_path / "t.jsonl"
    path.write_text('{"at":0,"path":"/x"}\nnonsense\n')
    result = CliRunner().invoke(main, [str(path), "--check"])

    assert (result.exit_code, "t.jsonl:2" in result.output) == (1, True)


def test_a_replay_resumes_where_the_last_one_ended(tmp_path: Path) -> None:
    """Nothing is left after the last line, and that is said."""
    path, earlier = tmp_path / "t.jsonl", tmp_path / "r.json"
    path.write_text('{"at":0,"path":"/x"}\n')
    earlier.write_text(json.dumps({"kind": "replay", "next": 1}))
    result = CliRunner().invoke(main, [str(path), "--resume", str(earlier)])

    assert "nothing to replay from request 1 on" in result.output
