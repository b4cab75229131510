"""Command-line options that several tools share, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from perf.http1 import SENDABLE
from perf.surfaces import ENDPOINTS, Question
from perf.workload import Target, Workload, bearer, prompt, tls_context

Command = TypeVar("Command", bound=Callable[..., Any])
MAX_SECONDS = 86_400.0


def _together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """One decorator for several options, shown in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _sendable(_: click.Context, option: click.Parameter, key: str | None) -> str | None:
    """The key, or a usage error that does not quote it."""
    if key is not None and not SENDABLE.fullmatch(key):
        raise click.BadParameter("a key is Latin-1 text without line breaks", param=option)
    return key


target_options = _together(
    click.option("--base-url", envvar="BACKEND_URL", default="http://127.0.0.1:3001", show_default=True,
                 help="Where the gateway is; with or without /v1. [env: BACKEND_URL]"),
    click.option("--key", envvar="PERF_KEY", default=None, callback=_sendable,
                 help="Client key, sent as a bearer token and never written down. [env: PERF_KEY]"),
    click.option("--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None,
                 help="PEM file of the authority that signed an https target."),
    click.option("--insecure", is_flag=True, help="Do not verify the certificate of an https target."),
    click.option("--timeout", type=click.FloatRange(0.01, 3600), default=120.0, show_default=True,
                 help="Seconds for one complete answer."),
    click.option("--quiet", is_flag=True, help="No progress bar."),
)  # fmt: skip

ask_options = _together(
    click.option("--model", default="gpt-5", help="Public name of the model."),
    click.option("--stream", is_flag=True, help="Ask for a stream, where there are any."),
    click.option("--prompt-bytes", type=click.IntRange(0, 16_000_000), default=800,
                 help="Size of the prompt."),
    click.option("--max-tokens", type=click.IntRange(1), default=None, help="Limit of the answer."),
)  # fmt: skip

watch_options = _together(
    click.option("--pid", type=click.IntRange(1), default=None, help="Process whose tree is watched."),
    click.option("--container", default=None, help="Container to watch, by name or id (needs docker)."),
    click.option("--interval", type=click.FloatRange(0.02, 3600), default=1.0, help="Seconds between looks."),
)

duration_option = click.option(
    "--duration", type=click.FloatRange(0.05, MAX_SECONDS), default=30.0, envvar="DURATION",
    help="Seconds in all. [env: DURATION]",
)  # fmt: skip
output_option = click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Result file (JSON)."
)
output_dir_option = click.option(
    "--output-dir", type=click.Path(file_okay=False, path_type=Path), default=Path("results"),
    envvar="OUTPUT_DIR", help="Where the result files go. [env: OUTPUT_DIR]",
)  # fmt: skip


def run_options(seconds: float, *, at_least: float, seed: str) -> Callable[[Command], Command]:
    """What the long runs share, with the length of one by default and what its seed is of."""
    return _together(
        click.option("--seconds", type=click.FloatRange(at_least, MAX_SECONDS), default=seconds,
                     help="How long it lasts."),
        click.option("--rate", type=click.FloatRange(1, 1000), default=60.0, help="Requests a second."),
        click.option("--seed", type=int, default=1, help=f"Of {seed}."),
        click.option("--readme", is_flag=True, help="Paste the result into the README."),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    )  # fmt: skip


def make_target(base_url: str, *, ca: Path | None, insecure: bool) -> Target:
    """The target, or a usage error that says what is wrong with the URL."""
    try:
        tls = tls_context(ca=ca, insecure=insecure) if base_url.startswith("https:") else None
        return Target(base_url, tls)
    except (ValueError, OSError) as exc:
        raise click.BadParameter(str(exc), param_hint="--base-url") from exc


@dataclass(frozen=True, slots=True)
class Ask:
    """What to ask for: a surface by name, and the size of the question."""

    surface: str = "chat"
    model: str = "gpt-5"
    stream: bool = False
    prompt_bytes: int = 800
    max_tokens: int | None = None
    identical: bool = False

    def workload(self, target: Target, key: str | None) -> Workload:
        """The requests for this question."""
        endpoint = ENDPOINTS[self.surface]
        question = Question(
            prompt(self.prompt_bytes), self.model, self.max_tokens, stream=self.stream and endpoint.streams
        )
        return Workload(
            self.surface, target, endpoint, question, headers=bearer(key), identical=self.identical
        )
