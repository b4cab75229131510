"""What the command line shows: steps as they are tried, and tables at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.doctor import Step
from server.settings import Settings
from server.wiring import build_services
from services.accounts import why_unserved
from services.board import Board
from services.catalog import Model
from services.container import Services

_MARKS = {True: ("ok", "green"), False: ("FAILED", "bold red"), None: ("–", "dim")}


def echo_step(step: Step) -> None:
    """Print one step as soon as it was tried."""
    mark, style = _MARKS[step.ok]
    line = Text(f"{mark:>7} ", style=style)
    line.append(f"{step.sub_account + ' · ' if step.sub_account else ''}{step.name}: ", style="default")
    line.append(step.text, style="default")
    Console(stderr=True).print(line)


def print_steps(steps: Sequence[Step]) -> None:
    """Print all steps with what to do about the failures."""
    console = Console()
    table = Table(title="aicore-gateway check", title_justify="left", show_lines=False)
    for column in ("sub-account", "step", "result", "details", "seconds"):
        table.add_column(column, overflow="fold")
    for step in steps:
        mark, style = _MARKS[step.ok]
        seconds = f"{step.seconds:.2f}" if step.seconds else ""
        table.add_row(step.sub_account, step.name, Text(mark, style=style), Text(step.text), seconds)
    console.print(table)
    failed = [step for step in steps if step.ok is False]
    for step in failed:
        place = f"{step.sub_account} · {step.name}" if step.sub_account else step.name
        console.print(Text(f"→ {place}: {step.advice or step.text}", style="yellow"))
    console.print(
        f"{len(failed)} of {len(steps)} steps failed" if failed else "everything works", style="bold"
    )


async def model_rows(settings: Settings) -> list[dict[str, Any]]:
    """Return what is known of each model, after one discovery."""
    services = build_services(settings, Board())
    try:
        await services.open()
        return [_row(model, services) for model in services.catalog.models()]
    finally:
        await services.close()


def print_models(rows: Iterable[dict[str, Any]]) -> None:
    """Print the models as a table."""
    table = Table(title="models", title_justify="left")
    for column in ("model", "family", "backend model", "deployments", "sub-accounts", "state"):
        table.add_column(column, overflow="fold")
    for row in rows:
        good = row["state"] == "served"
        table.add_row(
            row["model"],
            row["family"],
            ", ".join(row["backend_models"]),
            ", ".join(row["deployments"]),
            ", ".join(row["sub_accounts"]),
            Text(row["state"], style="green" if good else "yellow"),
        )
    Console().print(table)


def _row(model: Model, services: Services) -> dict[str, Any]:
    return {
        "model": model.name,
        "family": model.family,
        "backend_models": list(dict.fromkeys(one.model for one in model.candidates)),
        "deployments": [one.id for one in model.candidates],
        "sub_accounts": list(dict.fromkeys(one.sub_account for one in model.candidates)),
        "state": _state(model, services),
    }


def _state(model: Model, services: Services) -> str:
    if model.candidates and not model.facts.dialect:
        return "not spoken by this version"
    unserved = why_unserved(model.candidates, services.accounts)
    return unserved or ("hidden" if model.options.hidden else "served")
