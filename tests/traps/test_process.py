"""What no answer shows: when resources are made, what blocks a loop, and work that nobody asked for."""

from __future__ import annotations

import ast
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sanic import Sanic
from structlog.testing import capture_logs

from server.app import build_app
from server.readme import README
from server.settings import Settings
from services import journal
from services.translation import estimate, translate
from services.translation.conversation import Conversation, Text, Turn
from tests.services.pipeline_kit import STREAM, FakeStream, Kit, read

ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("handlers", "services") for path in (ROOT / folder).rglob("*.py")]
BLOCKING = {
    "requests", "urllib3", "http.client", "urllib.request.urlopen", "subprocess", "ai_core_sdk", "gen_ai_hub",
    "openai", "anthropic", "time.sleep", "httpx.Client", "httpx.get", "httpx.post", "redis.Redis",
}  # fmt: skip
TOKENIZERS = {"tiktoken", "tokenizers", "transformers", "sentencepiece"}


def used(path: Path) -> Iterator[str]:
    """Modules that a source imports, and `module.name` of what it takes from one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_trap_54_nothing_blocks_the_loop(path: Path) -> None:
    """Trap 54: no client or SDK that waits in the thread of the streams, and no sleep."""
    assert set() == BLOCKING & set(used(path))


@pytest.fixture(scope="module")
def app() -> Iterator[Sanic[Any, Any]]:
    Sanic.test_mode = True
    yield build_app(Settings(sub_accounts=()))
    Sanic.test_mode = False


def test_trap_54_clients_are_made_in_their_workers_loop(app: Sanic[Any, Any]) -> None:
    """Trap 54: the application has none before its worker starts, and the worker makes them once."""
    starts = [str(one.listener) for one in app._future_listeners if one.event == "before_server_start"]

    assert not hasattr(app.ctx, "services")
    assert 1 == sum("open_services" in start for start in starts)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_trap_58_there_is_no_tokenizer_to_download(path: Path) -> None:
    """Trap 58: closed networks have nowhere to take its vocabulary from."""
    assert set() == TOKENIZERS & {name.partition(".")[0] for name in used(path)}


def test_trap_58_an_estimate_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 58: special tokens are plain text, and more of them are more tokens."""

    def nothing(*_: object) -> NoReturn:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", nothing)
    few, many = (
        estimate.estimated_tokens(Conversation((Turn("user", (Text("<|endoftext|><|im_start|>" * count),)),)))
        for count in (1, 100)
    )

    assert 0 < few < many


async def test_trap_57_a_stream_is_one_line_of_the_log_and_no_tokens_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trap 57: whatever the number of its pieces; what it cost is read from the answer."""

    def never(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("that was work for nobody")

    monkeypatch.setattr(estimate, "estimated_tokens", never)
    monkeypatch.setattr(translate, "estimated_tokens", never)
    kit = Kit(("one", "d1"))
    pieces = [frame + b"\n\n" for frame in STREAM.split(b"\n\n") if frame]
    kit.script(d1=FakeStream(200, *pieces[:2], *pieces[2:3] * 200, *pieces[3:]))
    ask = kit.ask(stream=True, messages=[{"role": "user", "content": "long"}])
    with capture_logs() as lines:
        await read(await kit.pipeline.stream(ask))
        journal.Journal().close_call(ask.call, ask.body)

    assert ["request"] == [line["event"] for line in lines]
    assert "long" not in str(lines)


def test_trap_62_every_path_in_the_readme_is_served(app: Sanic[Any, Any]) -> None:
    """Trap 62: with the method that it names there; only /docs is made later, by a library."""
    named = set(re.findall(r"`(GET|POST|DELETE) (/[^`\s]*)`", README.read_text(encoding="utf-8")))
    app.finalize()

    assert {("POST", "/v1/chat/completions"), ("GET", "/v1/models")} <= named
    for method, path in named - {("GET", "/docs")}:
        assert app.router.get(re.sub(r"{\w+}", "some", path), method, None)
