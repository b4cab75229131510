"""llmock behind the gateway: it misbehaves as providers do, and grades whoever called it.

One deployment, so that a retry is one at the same place: there Retry-After must be waited for. The caller is
a good one: he tries again when he is told of a failure, and only then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from llmock.chaos import StreamChaos
from llmock.scenarios import Behavior, Delay, Fail, Reply, SlowFirstToken, StreamFault
from llmock.testing import LLMockServer
from llmock.verdict import Verdict, judge

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.bodies import CHAT, chat, content, events, said
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e

DEPLOYMENT = "/v2/inference/deployments/d0123456789abcde"
TEXT = "Seven copper lanterns hang above the harbour until the morning."
HOLD = {"x-aicore-hold": "true"}
RESEMBLE = "no_backoff"
"""Two waits with full jitter may well be alike: of two, chance decides."""


class AsDeployment:
    """llmock at the path of a deployment."""

    def __init__(self, app: Any) -> None:
        self._app, self.state = app, app.state

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith(DEPLOYMENT):
            path = "/v1" + scope["path"].removeprefix(DEPLOYMENT)
            scope = scope | {"path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)


@dataclass(frozen=True)
class Answer:
    """What the caller got at one try. `end` is `[DONE]`, `error`, or how else it ended."""

    status: int
    text: str
    end: str

    @property
    def right(self) -> bool:
        return (200, TEXT, "[DONE]") == (self.status, self.text, self.end)

    @property
    def honest(self) -> bool:
        """An error, after nothing but the beginning of the right answer."""
        return self.end == "error" and TEXT.startswith(self.text)


class Caller:
    """A plain client that tries again when he is told of a failure which may pass."""

    def __init__(self, url: str, provider: LLMockServer) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {CLIENT_KEY}"}, timeout=20, trust_env=False
        )
        self._provider = provider
        self._asked = 0

    def close(self) -> None:
        self._http.close()

    def plan(self, *behaviours: Behavior) -> None:
        """Forget what was, and have the next requests meet these."""
        self._provider.state.scenarios.clear()
        self._provider.state.journal.clear()
        self._provider.state.scenarios.add(Reply(text=TEXT, times=None), *behaviours)

    def ask(self, *, stream: bool, tries: int = 3, headers: dict[str, str] | None = None) -> list[Answer]:
        """The answers until one was right or could not become so."""
        self._asked += 1
        body = chat(f"question {self._asked}", model="mock", stream=stream)
        answers: list[Answer] = []
        while len(answers) < tries:
            answer = self._once(body, headers or {})
            answers.append(answer)
            if answer.end == "[DONE]" or 400 <= answer.status < 429:
                break
        return answers

    def verdict(self) -> Verdict:
        """What the provider thinks of us."""
        return judge(self._provider.state.journal.records(wait=5))

    def _once(self, body: dict[str, Any], headers: dict[str, str]) -> Answer:
        answer = self._http.post(CHAT, json=body, headers=headers)
        if answer.status_code != 200:
            return Answer(answer.status_code, "", "error" if answer.json()["error"]["message"] else "nothing")
        if not body["stream"]:
            return Answer(200, content(answer), "[DONE]")
        found = events(answer.text)
        chunks = [one for one in found if one == "[DONE]" or "error" not in one]
        last = found[-1] if found else "nothing"
        end = last if isinstance(last, str) else "error" if "error" in last else json.dumps(last)
        return Answer(200, said(chunks), end)


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A caller of a gateway whose only deployment is llmock; its tokens come from the simulator."""
    folder = tmp_path_factory.mktemp("llmock")
    provider = LLMockServer()
    provider.app = AsDeployment(provider.app)
    # Else a stream is over before anybody can hang up on it, and hanging up is what is graded.
    provider.state.stream_chaos = StreamChaos(chunk_delay_ms=20)
    with Simulator("--tenants", "1", write_config=folder), provider:
        config = json.loads((folder / "config.json").read_text())
        account = config["subAccounts"]["alpha"] | {
            "discover": False,
            "deployment_models": {"mock": provider.url + DEPLOYMENT},
        }
        extra = {
            "subAccounts": {"alpha": account},
            "models": {"mock": {"family": "aicore-opensource"}},
            "timeouts": {"stall": 1, "first_byte": 5},
            "routing": {"cool_down_seconds": 0.3},
        }
        with Gateway(folder / "config.json", workers=1, extra=extra) as gateway:
            made = Caller(gateway.url, provider)
            yield made
            made.close()


UNSEEN: dict[str, list[Behavior]] = {
    "nothing": [],
    "429, Retry-After": [Fail(429, retry_after=1)],
    "429 twice, Retry-After": [Fail(429, retry_after=1, times=2)],
    "500": [Fail(500)],
    "502": [Fail(502)],
    "503, Retry-After": [Fail(503, retry_after=1)],
    "529": [Fail(529)],
    "slow": [Delay(0.5)],
}
UNSEEN_STREAMED: dict[str, list[Behavior]] = {
    "slow first token": [SlowFirstToken(0.8)],
    "cut before a frame": [StreamFault("disconnect", after_chunks=0)],
    "cut before content": [StreamFault("disconnect", after_chunks=1)],
    "ended before content": [StreamFault("truncate", after_chunks=1)],
    "malformed before content": [StreamFault("malformed", after_chunks=1)],
}
BROKEN: dict[str, Behavior] = {
    "cut": StreamFault("disconnect", after_chunks=4),
    "ended": StreamFault("truncate", after_chunks=4),
    "malformed": StreamFault("malformed", after_chunks=4),
}
SEEN: dict[str, Behavior] = BROKEN | {"stalled": StreamFault("stall", after_chunks=4, stall_seconds=15)}
CASES = [
    *((name, behaviours, stream) for name, behaviours in UNSEEN.items() for stream in (False, True)),
    *((name, behaviours, True) for name, behaviours in UNSEEN_STREAMED.items()),
]


@pytest.mark.parametrize(
    ("behaviours", "stream"),
    [(behaviours, stream) for _, behaviours, stream in CASES],
    ids=[f"{name}, {'stream' if stream else 'whole'}" for name, _, stream in CASES],
)
def test_what_fails_before_the_answer_is_not_seen(
    caller: Caller, behaviours: list[Behavior], stream: bool
) -> None:
    """The caller gets the right answer at once, and the provider has nothing to complain of."""
    caller.plan(*behaviours)
    answers = caller.ask(stream=stream)
    verdict = caller.verdict()

    assert [True] == [answer.right for answer in answers], answers
    assert not verdict.findings, verdict.render()


@pytest.mark.parametrize("fault", SEEN.values(), ids=SEEN)
def test_what_fails_within_the_answer_is_told(caller: Caller, fault: Behavior) -> None:
    """The first try ends in an error event without `[DONE]`, the second is right: nothing cut was taken."""
    caller.plan(fault)
    answers = caller.ask(stream=True)
    verdict = caller.verdict()

    assert [False, True] == [answer.right for answer in answers], answers
    assert answers[0].honest, answers
    assert not verdict.findings, verdict.render()


@pytest.mark.parametrize("headers", [{}, HOLD], ids=["sent at once", "held back"])
def test_a_silent_deployment_is_not_asked_twice(caller: Caller, headers: dict[str, str]) -> None:
    """Who was just waited for in vain is not waited for again: without another one the caller is told."""
    caller.plan(StreamFault("stall", after_chunks=1, stall_seconds=15))
    answers = caller.ask(stream=True, headers=headers)
    verdict = caller.verdict()

    assert (504, "", "error") == (answers[0].status, answers[0].text, answers[0].end)
    assert [False, True] == [answer.right for answer in answers], answers
    assert not verdict.findings, verdict.render()


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_what_is_held_back_fails_unseen(caller: Caller, fault: Behavior) -> None:
    """With `x-aicore-hold` even a stream that broke in the middle is tried again before anything was sent."""
    caller.plan(fault)
    answers = caller.ask(stream=True, headers=HOLD)
    verdict = caller.verdict()

    assert [True] == [answer.right for answer in answers], answers
    assert not verdict.findings, verdict.render()


@pytest.mark.parametrize(
    ("status", "code"), [(400, "context_length_exceeded"), (400, "content_filter"), (403, None), (422, None)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_pass_is_not_tried_again(
    caller: Caller, status: int, code: str | None, stream: bool
) -> None:
    """One attempt, and the caller is told."""
    caller.plan(Fail(status, code=code, times=None))
    answers = caller.ask(stream=stream, tries=1)
    verdict = caller.verdict()

    assert [True] == [answer.honest for answer in answers], answers
    assert 1 == verdict.attempts
    assert not verdict.findings, verdict.render()


@pytest.mark.parametrize("stream", [False, True])
def test_an_outage_is_no_storm(caller: Caller, stream: bool) -> None:
    """A few attempts, then an honest error; and at once right again afterwards."""
    caller.plan(Fail(503, times=None))
    answers = caller.ask(stream=stream, tries=1)
    verdict = caller.verdict()
    caller.plan()
    later = caller.ask(stream=stream)

    assert [True] == [answer.honest for answer in answers], answers
    assert 2 <= verdict.attempts <= 4
    assert {RESEMBLE} >= {finding.code for finding in verdict.findings}, verdict.render()
    assert later[-1].right, later
