"""Secrets and prompts are planted; no log line, no answer and no recording may show them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from perf.recording import Recording
from perf.simulator.faults import KINDS
from perf.simulator.launch import Simulator
from tests.e2e.bodies import CHAT, chat
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e

CLIENT_KEY = "sk-canary-client-key"
WRONG_KEY = "sk-canary-wrong-key"
PROMPT = "canary-prompt"
ANSWER = "canary-answer"
TOOL = "canary_tool"
REDIS_PASSWORD = "canary-redis-password"


@dataclass(frozen=True)
class Traces:
    """All that a gateway left behind after a varied run."""

    log: str
    answers: str
    """Heads and bodies of everything that was answered to good requests."""
    failures: str
    """The same of failed ones, the request's own text left out of them."""
    recordings: dict[str, Path]
    requests: int
    """Chat requests with a good key, in each of two runs."""
    secrets: list[str]
    """What must be nowhere."""


def ask(client: httpx.Client, text: str, *, stream: bool, model: str = "gpt-5-mini") -> httpx.Response:
    tool = {"type": "function", "function": {"name": TOOL, "parameters": {"type": "object"}}}
    return client.post(CHAT, json=chat(f"{PROMPT} {text}", model=model, stream=stream, tools=[tool]))


def shown(answer: httpx.Response) -> str:
    return f"{answer.status_code} {dict(answer.headers)} {answer.text}\n"


def one_run(folder: Path, *, bodies: bool) -> tuple[str, str, str, Path, int, list[str]]:
    recording = folder / f"traffic-{bodies}.jsonl"
    extra = {
        "secret_authentication_tokens": [{"name": "canary", "key": CLIENT_KEY}],
        "recorder": {"path": str(recording), "bodies": bodies},
        "log_level": "debug",
        "routing": {"attempts": 2, "cool_down_seconds": 0},
        "timeouts": {"first_byte": 0.4, "stall": 0.4, "total": 0.8},
        "redis": {"host": "127.0.0.1", "port": 9, "password": REDIS_PASSWORD},
        "cache": {"enabled": True, "store": "redis"},
    }
    good, bad, count = [], [], 0
    with Simulator(write_config=folder) as tenant:
        key = tenant.service_key("alpha")
        with (
            Gateway(folder / "config.json", extra=extra) as gateway,
            httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as client,
        ):
            client.headers["authorization"] = f"Bearer {CLIENT_KEY}"
            for stream in (False, True):
                good.append(shown(client.post(CHAT, json=chat(f"echo: {ANSWER}", stream=stream))))
                good.append(shown(ask(client, "", stream=stream)))
                count += 2
                for kind in KINDS:
                    bad.append(shown(ask(client, f"[[fault:{kind}]]", stream=stream)))
                    count += 1
            wrong = {"authorization": f"Bearer {WRONG_KEY}", "x-api-key": WRONG_KEY}
            bad.append(shown(client.post(CHAT, json=chat(PROMPT), headers=wrong)))
            bad.append(shown(client.post(f"/v1/nowhere?key={WRONG_KEY}", json=chat(PROMPT))))
            bad.append(shown(client.post(CHAT, content=b'{"model": "canary-prompt')))
            for path in ("/health", "/health/ready", "/health/details", "/metrics", "/v1/models", "/docs/"):
                good.append(shown(client.get(path)))
            tokens = [
                request["headers"]["authorization"] for request in tenant.stats(bodies=True)["last"].values()
            ]
        log = gateway.log()
    secrets = [
        CLIENT_KEY,
        WRONG_KEY,
        REDIS_PASSWORD,
        key["clientsecret"],
        *(token.removeprefix("Bearer ") for token in tokens),
    ]
    return log, "".join(good), "".join(bad), recording, count, secrets


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    folder = tmp_path_factory.mktemp("canary")
    without = one_run(folder, bodies=False)
    whole = one_run(folder, bodies=True)
    log, answers, failures = (first + second for first, second in zip(without[:3], whole[:3], strict=True))
    recordings = {"without bodies": without[3], "with bodies": whole[3]}
    return Traces(log, answers, failures, recordings, whole[4], [*without[5], *whole[5]])


def test_the_log_shows_no_secret(traces: Traces) -> None:
    """No key, client secret, token or password is in any line, at the level debug, through every fault
    (trap 51)."""
    assert 2 * traces.requests <= traces.log.count('"event":"request"')
    assert [] == [secret for secret in traces.secrets if secret in traces.log]


def test_the_log_shows_no_prompt(traces: Traces) -> None:
    """Neither what was asked, nor what was answered, nor a tool's name."""
    assert [] == [text for text in (PROMPT, ANSWER, TOOL) if text in traces.log]


def test_no_answer_shows_a_secret(traces: Traces) -> None:
    """Neither answers, errors, metrics nor health details show a secret."""
    assert len(traces.secrets) > 4
    assert [] == [secret for secret in traces.secrets if secret in traces.answers + traces.failures]


def test_no_error_repeats_the_prompt(traces: Traces) -> None:
    """What was asked is in no error."""
    assert PROMPT not in "".join(line for line in traces.failures.splitlines() if '"error"' in line)


@pytest.mark.parametrize("which", ["without bodies", "with bodies"])
def test_a_recording_shows_no_secret(traces: Traces, which: str) -> None:
    """No key and no token, whether bodies are recorded or not."""
    text = traces.recordings[which].read_text()

    assert text
    assert [] == [secret for secret in traces.secrets if secret in text]


def test_a_recording_without_bodies_shows_no_prompt(traces: Traces) -> None:
    """Sizes and times only."""
    text = traces.recordings["without bodies"].read_text()

    assert [] == [word for word in (PROMPT, ANSWER, TOOL) if word in text]


@pytest.mark.parametrize("which", ["without bodies", "with bodies"])
def test_a_recording_can_be_replayed(traces: Traces, which: str) -> None:
    """The reader of the replay takes every line of both workers."""
    recording = Recording(traces.recordings[which])
    lines = list(recording.read())

    assert not recording.cut_short
    assert traces.requests <= len(lines)
    assert {"/v1/chat/completions"} == {line.path for line in lines}
    assert {True, False} == {line.stream for line in lines}
    assert (which == "with bodies") == any(line.body for line in lines)
    assert all(line.body_bytes for line in lines)


def test_the_canaries_were_alive(traces: Traces) -> None:
    """What was planted would have been found: a recording has the prompt, the log has the caller."""
    assert PROMPT in traces.recordings["with bodies"].read_text()
    assert '"caller":"canary"' in traces.log
    assert ANSWER in traces.answers
