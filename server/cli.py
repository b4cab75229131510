"""The command line: aicore-gateway serve | demo | check | models | init | keys."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.signals import end_in_order

if TYPE_CHECKING:
    from server.doctor import Step
    from server.settings import Settings

# Imports are inside the commands: --help and `keys new` need none of the server.

_CONFIG = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file, JSON or YAML. Default: $CONFIG_PATH, config.json, config.yaml; "
    "without any of them the AICORE_* variables.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="aicore-gateway", message="aicore-gateway %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """One OpenAI-compatible endpoint in front of SAP AI Core.

    \b
    First steps:
      aicore-gateway demo                       try it against a simulated tenant
      aicore-gateway init --service-key k.json  write a configuration for your own
      aicore-gateway check                      see whether every step to an answer works
      aicore-gateway serve                      serve
    """
    if context.invoked_subcommand in ("check", "models", "init"):
        from server import logs

        logs.setup("error", pretty=True)  # what matters is in the command's own output


@cli.command()
@_CONFIG
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--workers", type=int, help="Worker processes. Default: one a core.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged."
)
@click.option(
    "--allow-anonymous", is_flag=True, default=None, help="Serve without client keys, even beyond loopback."
)
def serve(config: Path | None, **options: Any) -> None:
    """Serve. Ends on Ctrl-C or SIGTERM.

    Running requests have drain_seconds (600) to finish; a second signal cuts them. SIGHUP renews the workers
    one by one.
    """
    from server import runtime

    settings = _load(config, options)
    runtime.prepare()
    from server.launch import CannotListen, serve as run

    for note in settings.notes:
        click.echo(f"note: {note}", err=True)
    try:
        run(settings)
    except CannotListen as exc:
        raise click.ClickException(str(exc)) from exc


@cli.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=3001,
    show_default=True,
    help="Port of the gateway; another if it is taken.",
)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Worker processes.")
def demo(port: int, workers: int) -> None:
    """Start a simulated SAP AI Core and the gateway on loopback, with a ready curl line."""
    from server.demo import run

    sys.exit(run(port=port, workers=workers))


@cli.command()
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print the steps as JSON.")
@click.option("--no-calls", is_flag=True, help="Do not call the models (a call costs a few tokens each).")
def check(config: Path | None, as_json: bool, no_calls: bool) -> None:
    """Try every step from here to an answer; exit status 1 if any fails.

    For each sub-account: the service key, a token and how long it lives, the resource group, the
    deployments; then each of its models with one small call.
    """
    from server import runtime
    from server.config import ConfigError, load

    runtime.prepare()
    try:
        settings = load(config)
    except ConfigError as exc:
        from server.doctor import faulty

        steps = faulty(exc)
    else:
        steps = asyncio.run(_examine(settings, calls=not no_calls, show=not as_json))
    if as_json:
        click.echo(json.dumps([_plain(step) for step in steps], indent=2))
    else:
        from server.tables import print_steps

        print_steps(steps)
    sys.exit(1 if any(step.ok is False for step in steps) else 0)


@cli.command()
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print the models as JSON.")
def models(config: Path | None, as_json: bool) -> None:
    """List the models: public name, family, backend model, deployments, sub-accounts, state."""
    settings = _load(config, {})
    from server import runtime

    runtime.prepare()
    from server.tables import model_rows, print_models

    rows = asyncio.run(model_rows(settings))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        print_models(rows)


@cli.command()
@click.option(
    "--service-key", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Service key file."
)
@click.option(
    "--resource-group", default=None, help="Resource group. Default: AICORE_RESOURCE_GROUP, or default."
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default=Path("config.json"), show_default=True
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(service_key: Path | None, resource_group: str | None, output: Path, force: bool) -> None:
    """Write a configuration from a service key file or the AICORE_* variables, with what is deployed."""
    if output.exists() and not force:
        raise click.ClickException(
            f"{output} exists already; --force overwrites it, --output names another file"
        )
    from server.initialise import write_configuration

    write_configuration(service_key, resource_group, output)


@cli.group()
def keys() -> None:
    """Keys that clients present to the gateway."""


@keys.command("new")
def new() -> None:
    """Make a strong key. The key is for the client, its SHA-256 for the configuration."""
    from server.keys import new_key

    made = new_key()
    click.echo(f"key:    {made.key}")
    click.echo(f"sha256: {made.sha256}")
    click.echo(
        "\nGive the key to the client; put the sha256 line's value into secret_authentication_tokens.",
        err=True,
    )


def main() -> None:
    """Run the command line."""
    gc.set_threshold(100_000)  # imports make next to no garbage, and looking for it takes a tenth of a start
    end_in_order()
    cli(prog_name="aicore-gateway")


def _load(config: Path | None, options: dict[str, Any]) -> Settings:
    from server.config import ConfigError, load

    try:
        return load(config, overrides=options)
    except ConfigError as exc:
        raise click.ClickException(str(exc)) from exc


async def _examine(settings: Settings, *, calls: bool, show: bool) -> list[Step]:
    from server.doctor import examine
    from server.tables import echo_step

    steps = []
    async for step in examine(settings, call_models=calls):
        steps.append(step)
        if show:
            echo_step(step)
    return steps


def _plain(step: Step) -> dict[str, Any]:
    import msgspec

    return dict(msgspec.to_builtins(step))
