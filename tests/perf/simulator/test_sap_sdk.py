"""SAP's own Python SDK against the simulator: a client that none of us wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from perf.simulator.launch import Simulator

# In a process of its own: the SDK imports a great deal and warns of things that are not ours to mend.
SCRIPT = """
import json
from gen_ai_hub.proxy.core.proxy_clients import get_proxy_client
from gen_ai_hub.proxy.native.openai import OpenAI

proxy = get_proxy_client("gen-ai-hub")
client = OpenAI(proxy_client=proxy)
hello = [{"role": "user", "content": "echo: hello there"}]
whole = client.chat.completions.create(model_name="gpt-5", messages=hello, temperature=0.3)
stream = client.chat.completions.create(
    model_name="gpt-4.1", messages=hello, stream=True, stream_options={"include_usage": True}
)
pieces = list(stream)
vectors = client.embeddings.create(model_name="text-embedding-3-small", input=["a", "b"])
print(json.dumps({
    "models": sorted(d.model_name for d in proxy.deployments),
    "whole": whole.choices[0].message.content,
    "streamed": "".join(p.choices[0].delta.content or "" for p in pieces if p.choices),
    "usage": pieces[-1].usage.total_tokens,
    "vectors": [len(item.embedding) for item in vectors.data],
}))
"""

EXPECTED = {
    "whole": "hello there",
    "streamed": "hello there",
    "vectors": [1536, 1536],
}


def test_sap_sdk_gets_a_token_lists_chats_streams_and_embeds(sim: Simulator, tmp_path: object) -> None:
    """Deployments found, answers right, one token fetched."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AICORE_")}
    environment |= sim.environment() | {"AICORE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )

    running = sorted(d["model"] for d in sim.deployments() if d["model"] and d["status"] == "RUNNING")

    assert 0 == done.returncode, done.stderr
    answer = json.loads(done.stdout)
    assert 0 < answer.pop("usage")
    assert EXPECTED | {"models": running} == answer
    assert {"alpha": 1} == sim.stats()["token_fetches_by_tenant"]
