"""`aicore-gateway demo`: the simulator and the gateway on loopback, with something ready to paste."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perf.simulator.launch import CLIENT_KEY, Simulator
from server.environment import NAMES as environment_names

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_MODEL = "gpt-5"

_TEXT = """
The gateway serves on {url}, in front of a simulated SAP AI Core with two sub-accounts.

Ask it something, streamed:

  curl -N {url}/v1/chat/completions \\
    -H 'Authorization: Bearer {key}' \\
    -H 'Content-Type: application/json' \\
    -d '{body}'

From Python (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  for chunk in client.chat.completions.create(model="{model}", stream=True,
          messages=[{{"role": "user", "content": "Hello!"}}]):
      print(chunk.choices[0].delta.content or "", end="", flush=True)

Claude Code against it:

  ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={key} claude --model sonnet

Where to look next:

  {url}/docs          the endpoints, to try out
  {url}/health        the state; {url}/v1/models lists the models (with the key)
  aicore-gateway init      makes a configuration for your own tenant
  {log}
                      the gateway's log, one line a request

Ctrl-C ends it all.
"""


def run(*, port: int, workers: int) -> int:
    """Run until Ctrl-C. Returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="aicore-demo-") as folder:
        place = Path(folder)
        port = _free(port)
        print("starting the simulator …", flush=True)
        with (
            _interruptible(),
            Simulator("--tokens-per-second", "40", "--latency-ms", "150", write_config=place) as tenant,
        ):
            print(f"  simulated SAP AI Core on {tenant.base_url}", flush=True)
            print(f"starting the gateway with {workers} workers …", flush=True)
            with _gateway(place, port=port, workers=workers) as gateway:
                _show(f"http://127.0.0.1:{port}", place / "gateway.log")
                _until_interrupted(gateway, place / "gateway.log")
    print("\nended; nothing is left running", flush=True)
    return 0


@contextmanager
def _interruptible() -> Iterator[None]:
    """End on Ctrl-C and on SIGTERM alike, even where a shell has made us ignore the first.

    A second one is ignored: it would break off the clean-up, which ends soon by itself.
    """

    def interrupt(number: int, frame: object) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _gateway(place: Path, *, port: int, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    config = place / "config.json"
    command = [sys.executable, "-m", "server", "serve", "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", str(workers)]
    environment = {name: value for name, value in os.environ.items() if name not in environment_names}
    # A company's proxy does not know this machine's loopback.
    environment |= {"PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    with (place / "gateway.log").open("wb") as log:
        # Its own session: Ctrl-C is for this process, which then ends the others in order.
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait_ready(process, f"http://127.0.0.1:{port}/health/ready", place / "gateway.log")
        yield process
    finally:
        _end(process)


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the gateway ended at once:\n{log.read_text(errors='replace')}")
        try:
            with direct.open(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit(
        f"the gateway was not ready within {_START_SECONDS:g} s:\n{log.read_text(errors='replace')}"
    )


def _until_interrupted(process: subprocess.Popen[bytes], log: Path) -> None:
    status = process.wait()
    raise SystemExit(f"the gateway ended by itself with status {status}:\n{log.read_text(errors='replace')}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _show(url: str, log: Path) -> None:
    body = json.dumps({"model": _MODEL, "stream": True, "messages": [{"role": "user", "content": "Hello!"}]})
    print(_TEXT.format(url=url, key=CLIENT_KEY, body=body, model=_MODEL, log=log), flush=True)


def _free(wanted: int) -> int:
    """Return the wanted port, or another one if somebody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                print(f"port {port} is taken; using another one", flush=True)
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("no free port on 127.0.0.1")
