"""The real process for tests and benchmarks, as a context manager.

with Simulator("--latency-ms", "20") as sim:
    key = sim.service_key("alpha")
    sim.set_fault(model="gpt-5", kind="429", arg=2, times=1)
    ...
    assert 1 == sim.stats()["token_fetches"]
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from perf.simulator.config_files import CLIENT_KEY

__all__ = ["CLIENT_KEY", "Simulator"]

_ROOT = Path(__file__).resolve().parents[2]
_READY = "simulator ready on "


class Simulator:
    """Starts `python -m perf.simulator` on a free loopback port, and stops it by its process id.

    `options` are command line options. With `cpu` the process is pinned to that core.
    """

    def __init__(
        self,
        *options: str,
        port: int = 0,
        write_config: Path | None = None,
        cpu: int | None = None,
        start_seconds: float = 20.0,
    ) -> None:
        self._command = [sys.executable, "-m", "perf.simulator", "--port", str(port), *options]
        if write_config is not None:
            self._command += ["--write-config", str(write_config)]
        self._cpu = cpu
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[str] | None = None
        self._tenants: dict[str, Any] = {}
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE  # our own process, on loopback
        self.base_url = ""
        self.config_directory = write_config

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id. Raises RuntimeError before the start."""
        return self._running().pid

    def start(self) -> None:
        """Start, and wait until it answers. Raises RuntimeError with its output if it does not."""
        environment = os.environ | {"PYTHONPATH": str(_ROOT)}
        self._process = subprocess.Popen(
            self._command,
            cwd=_ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            if self._cpu is not None:
                os.sched_setaffinity(self._process.pid, {self._cpu})
            self.base_url = self._ready_line().removeprefix(_READY)
            self._tenants = self.request("GET", "/_sim/tenants")
        except BaseException:
            self.stop()
            raise

    def _ready_line(self) -> str:
        process = self._running()
        assert process.stdout is not None
        seen: list[str] = []
        deadline = time.monotonic() + self._start_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                line = process.stdout.readline()
                if line.startswith(_READY):
                    return line.strip()
                seen.append(line)
                if not line:
                    break
        raise RuntimeError(f"the simulator did not start: {''.join(seen) or 'no output'}")

    def stop(self) -> int | None:
        """Ask it to end, then make it; returns its exit status."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(5)
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the simulator is not running")
        return self._process

    # the admin endpoints

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """One administrative request; the answer as JSON. Raises urllib.error.HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base_url + path, data, method=method)
        context = self._tls if self.base_url.startswith("https:") else None
        with urllib.request.urlopen(request, timeout=10, context=context) as response:
            return json.load(response)

    def stats(self, *, bodies: bool = False) -> dict[str, Any]:
        """What `GET /_sim/stats` says; with `bodies` also the last request of each deployment."""
        answer: dict[str, Any] = self.request("GET", "/_sim/stats" + ("?bodies=1" if bodies else ""))
        return answer

    def last_request(self, deployment_id: str) -> dict[str, Any]:
        """Method, target, headers and body of the last request to a deployment. Raises KeyError."""
        answer: dict[str, Any] = self.stats(bodies=True)["last"][deployment_id]
        return answer

    def reset(self) -> None:
        """Counters to zero, faults gone, pace as on the command line."""
        self.request("POST", "/_sim/reset")

    def revoke(self, tenant: str | None = None) -> int:
        """Refuse all tokens handed out so far; returns how many."""
        revoked: int = self.request("POST", "/_sim/revoke", {"tenant": tenant})["revoked"]
        return revoked

    def set_fault(self, kind: str, **where: Any) -> None:
        """Set a fault; `where` is any of model, deployment, tenant, plane, arg, times, probability."""
        self.request("POST", "/_sim/faults", {"kind": kind, **where})

    def clear_faults(self) -> None:
        """Everything works again."""
        self.request("DELETE", "/_sim/faults")

    def set_pace(self, **pace: float) -> None:
        """Change latency_ms, chunk_interval_ms, answer_tokens or chunk_size."""
        self.request("POST", "/_sim/pace", pace)

    def set_status(self, deployment_id: str, status: str) -> None:
        """Let a deployment run, stop, or die."""
        self.request("POST", f"/_sim/deployments/{deployment_id}", {"status": status})

    # the tenants

    @property
    def tenants(self) -> list[str]:
        """Their names."""
        return list(self._tenants)

    def service_key(self, tenant: str = "alpha") -> dict[str, Any]:
        """A tenant's service key, as its file would hold it."""
        key: dict[str, Any] = self._tenants[tenant]["service_key"]
        return key

    def environment(self, tenant: str = "alpha") -> dict[str, str]:
        """The AICORE_* variables of a tenant."""
        variables: dict[str, str] = self._tenants[tenant]["environment"]
        return variables

    def deployments(self, model: str | None = None, *, tenant: str = "alpha") -> list[dict[str, Any]]:
        """id, model, executable, status and url of a tenant's deployments, as they were at the start."""
        listed: list[dict[str, Any]] = self._tenants[tenant]["deployments"]
        return [d for d in listed if model is None or d["model"] == model]
