"""The command: `python -m perf.faults`."""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from perf import console, pasting, results
from perf.faults import report
from perf.faults.board import CASES_PER_SECOND, NotHealthy, Result, run, warm_up
from perf.faults.scenarios import SCENARIOS, SURFACES, Case, cases
from perf.faults.stand import standing
from perf.stack import StackError, interrupt_as_exit

_IDS = tuple(scenario.id for scenario in SCENARIOS)


@click.command(context_settings={"show_default": True})
@click.option(
    "--only",
    type=click.Choice(_IDS, case_sensitive=False),
    multiple=True,
    metavar="S01…S16",
    help="Only these scenarios; repeat for several.",
)
@click.option("--surface", type=click.Choice(SURFACES), multiple=True, help="Only these surfaces.")
@click.option(
    "--translated/--no-translated", default=True, help="Also to the family that speaks another dialect."
)
@click.option("--nginx/--no-nginx", "with_nginx", default=True, help="nginx with TLS in front.")
@click.option("--workers", type=click.IntRange(1, 16), default=2, help="Worker processes of the gateway.")
@click.option("--readme/--no-readme", default=False, help="Paste the table into README.md; needs all of it.")
@click.option("--json", "as_json", is_flag=True, help="Everything observed, as JSON on standard output.")
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Keep configuration and logs of gateway and nginx here.",
)
def main(
    only: tuple[str, ...], surface: tuple[str, ...], translated: bool, with_nginx: bool, workers: int,
    readme: bool, as_json: bool, logs: Path | None,
) -> None:  # fmt: skip
    """What callers get when SAP AI Core misbehaves: sixteen faults, every surface, the real gateway.

    An upstream on raw sockets plays the faults of Failover Bench, chosen by model. The gateway runs with two
    workers behind nginx, as in docker-compose.yml, with short time limits. Every case is asked whole and
    streamed; where a stream breaks, also held: with x-aicore-hold the gateway sends no half answers. All
    of it runs side by side and takes about two minutes.

    \b
    Grades:
      pass     the whole answer (S02, S12, S13: the error that belongs there), and all that is required
      partial  the same, but what is required "ideally" is missing
      honest   no answer where none could be promised, but a clear error in time
      fail     a rule broken, an answer lost, or something that looks complete and is not

    The exit status is 1 when anything failed.

    \b
    Try:
      python -m perf.faults
      python -m perf.faults --only S08 --only S14 --no-translated
      python -m perf.faults --only S01 --surface chat --no-nginx --logs /tmp/faults
    """
    interrupt_as_exit()
    wanted = [one for one in SCENARIOS if not only or one.id in {name.upper() for name in only}]
    chosen = [case for case in cases(wanted, translated=translated) if not surface or case.surface in surface]
    if not chosen:
        raise click.UsageError("nothing to do: this scenario does not happen on that surface")
    if readme and (only or surface or not translated or not with_nginx):
        raise click.UsageError("--readme needs all of it: no --only, --surface, --no-translated, --no-nginx")
    try:
        done = _run(chosen, logs, workers=workers, with_nginx=with_nginx)
    except (StackError, NotHealthy) as exc:
        raise click.ClickException(str(exc)) from exc
    if as_json:
        click.echo(json.dumps({**results.about(), "cases": report.document(done)}, indent=1))
    else:
        report.show(done)
    if readme:
        _paste(done, workers)
    sys.exit(report.failed(done))


def _run(chosen: Sequence[Case], logs: Path | None, *, workers: int, with_nginx: bool) -> list[Result]:
    async def judged(directory: Path) -> list[Result]:
        async with standing(chosen, directory, workers=workers, with_nginx=with_nginx) as (entry, upstream):
            await warm_up(chosen, entry)
            return await run(chosen, entry, upstream, notify=lambda done: _tell(report.progress(done)))

    _tell(f"{len(chosen)} cases, {CASES_PER_SECOND:g} begun a second; the longest take 90 s")
    with tempfile.TemporaryDirectory(prefix="perf-faults-") as temporary:
        directory = logs.resolve() if logs else Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        return asyncio.run(judged(directory))


def _tell(line: str) -> None:
    console.err.print(line, markup=False, highlight=False)


def _paste(done: Sequence[Result], workers: int) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    condition = f"{today}, {workers} workers behind nginx, {results.machine()['cpu']}."
    pasting.paste("faults", report.markdown(done, condition))


if __name__ == "__main__":
    main()
