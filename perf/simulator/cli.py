"""The command line of the simulator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from perf.simulator import config_files
from perf.simulator.app import Simulator
from perf.simulator.faults import KINDS, parse_option
from perf.simulator.server import bind, serve, tls_context
from perf.simulator.settings import Pace, Settings
from perf.simulator.tenants import TENANT_NAMES

_ABOUT = """\
A SAP AI Core on loopback: OAuth tokens, the management plane, and inference as azure-openai,
aicore-mistralai and aicore-opensource deployments. Answers are made up, but the wire format,
the refusals and the oddities are not.
"""

_MORE = """\
answers
  The last message decides. `echo: TEXT` answers TEXT; `[[tokens:N]]` answers N tokens; naming a tool
  calls it; a tool's result is repeated; everything else gets --answer-tokens of the same filler text.

faults
  --fault TARGET=KIND[:PROBABILITY][:ARG], where a target is a model, a deployment id, a tenant, a plane
  (oauth, management) or * for all inference.
  For one request: header `x-sim-fault: KIND[:ARG]`, or `[[fault:KIND[:ARG]]]` in the last user message.
  While it runs: POST /_sim/faults {"model": "gpt-5", "kind": "429", "arg": 2, "times": 3}. Kinds:

%s

looking inside
  GET /_sim/stats[?bodies=1]   POST /_sim/reset    GET|POST|DELETE /_sim/faults   POST /_sim/pace
  POST /_sim/revoke            GET /_sim/tenants   POST /_sim/deployments/ID {"status": "STOPPED"}

examples
  python -m perf.simulator --port 8081 --write-config sim/
      then start a gateway with sim/config.json, or `. sim/alpha.env` and use SAP's SDK
  python -m perf.simulator --latency-ms 300 --tokens-per-second 50 --answer-tokens 400
  python -m perf.simulator --fault gpt-5=429:0.1:2 --fault 'beta=503:0.05' --fault oauth=500:0.2
"""


def parser() -> argparse.ArgumentParser:
    """The options, and a help text that teaches."""
    kinds = "\n".join(f"    {kind:15} {meaning}" for kind, meaning in KINDS.items())
    options = argparse.ArgumentParser(
        prog="python -m perf.simulator",
        description=_ABOUT,
        epilog=_MORE.replace("%s", kinds),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_server_options(options.add_argument_group("server"))
    _add_tenant_options(options.add_argument_group("tenants and tokens"))
    _add_model_options(options.add_argument_group("models"))
    return options


def _add_server_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    group.add_argument("--port", type=int, default=8081, help="0 takes a free one (%(default)s)")
    group.add_argument(
        "--public-url", help="base of all URLs handed out, if clients see another than host and port"
    )
    group.add_argument("--tls-cert", metavar="PEM", help="serve https with this certificate chain")
    group.add_argument("--tls-key", metavar="PEM", help="and this key")
    group.add_argument(
        "--client-ca", metavar="PEM", help="a client certificate signed by this needs no secret"
    )
    group.add_argument(
        "--write-config", metavar="DIR", type=Path, help="write service keys and configurations"
    )


def _add_tenant_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tenants",
        type=int,
        default=2,
        metavar="N",
        help=f"how many of {', '.join(TENANT_NAMES)} (%(default)s)",
    )
    group.add_argument(
        "--resource-group", action="append", metavar="NAME", help="allowed group (default); repeatable"
    )
    group.add_argument("--token-lifetime", type=int, default=43199, metavar="SECONDS", help="(%(default)s)")
    group.add_argument("--revoke-after", type=int, metavar="N", help="refuse a token after N uses")
    group.add_argument("--page-limit", type=int, metavar="N", help="most resources in one page of a list")


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--latency-ms", type=float, default=0.0, help="to the first byte of an answer (%(default)s)"
    )
    speed = group.add_mutually_exclusive_group()
    speed.add_argument(
        "--tokens-per-second", type=float, metavar="N", help="of a stream; all at once without"
    )
    speed.add_argument("--chunk-interval-ms", type=float, default=0.0, help="the same as time between frames")
    group.add_argument("--answer-tokens", type=int, default=32, metavar="N", help="(%(default)s)")
    group.add_argument(
        "--chunk-size", type=int, default=1, metavar="N", help="tokens in a frame (%(default)s)"
    )
    group.add_argument(
        "--tick-ms",
        type=int,
        default=1,
        choices=range(1, 101),
        metavar="N",
        help="all timers are rounded up to N ms; more makes many streams cheaper (%(default)s)",
    )
    group.add_argument(
        "--rpm", type=int, metavar="N", help="requests per minute and model; 429 with Retry-After beyond"
    )
    group.add_argument(
        "--fault", action="append", default=[], metavar="TARGET=KIND[:P][:ARG]", help="see below"
    )
    group.add_argument("--seed", type=int, default=0, help="of the faults with a probability (%(default)s)")


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings. Raises ValueError."""
    interval = options.chunk_interval_ms
    if options.tokens_per_second is not None:
        if options.tokens_per_second <= 0:
            raise ValueError("--tokens-per-second must be above 0")
        interval = 1000 * options.chunk_size / options.tokens_per_second
    for name in ("token_lifetime", "revoke_after", "page_limit", "rpm"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1")
    return Settings(
        tenants=options.tenants,
        resource_groups=tuple(options.resource_group or ("default",)),
        token_lifetime=options.token_lifetime,
        revoke_after=options.revoke_after,
        page_limit=options.page_limit,
        rpm=options.rpm,
        seed=options.seed,
        pace=Pace(options.latency_ms, interval, options.answer_tokens, options.chunk_size),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until a signal. Exits with status 2 on options that make no sense, 1 if the address is taken."""
    options_parser = parser()
    options = options_parser.parse_args(arguments)
    if bool(options.tls_cert) != bool(options.tls_key) or (options.client_ca and not options.tls_cert):
        options_parser.error("--tls-cert and --tls-key belong together, and --client-ca needs both")
    try:
        settings = settings_of(options)
        tls = tls_context(options.tls_cert, options.tls_key, options.client_ca) if options.tls_cert else None
        listener = bind(options.host, options.port)
    except ValueError as error:
        options_parser.error(str(error))
    except OSError as error:
        sys.exit(f"cannot start: {error}")
    address = f"{'https' if tls else 'http'}://{_host(options.host)}:{listener.getsockname()[1]}"
    try:
        simulator = Simulator(settings, base_url=(options.public_url or address).rstrip("/"))
        for text in options.fault:
            simulator.faults.add(parse_option(text, tenants=tuple(simulator.tenants)))
        if options.write_config:
            config_files.write(options.write_config, simulator.tenants.values())
    except ValueError as error:
        listener.close()
        options_parser.error(str(error))
    serve(
        simulator,
        listener,
        tls=tls,
        tick_ms=options.tick_ms,
        ready=lambda: print(f"simulator ready on {address}", flush=True),
    )


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
