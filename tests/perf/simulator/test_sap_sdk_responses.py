"""SAP's own Python SDK at the Responses API of the simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from perf.simulator.launch import Simulator

SCRIPT = """
import json
from gen_ai_hub.proxy.core.proxy_clients import get_proxy_client
from gen_ai_hub.proxy.native.openai import OpenAI
from pydantic import BaseModel

class Place(BaseModel):
    city: str

client = OpenAI(proxy_client=get_proxy_client("gen-ai-hub"))
tool = {"type": "function", "name": "get_weather", "strict": False, "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}
asked = {"role": "user", "content": "get_weather"}
whole = client.responses.create(model_name="gpt-5.3-codex", input="echo: hello there")
onward = client.responses.create(
    model_name="gpt-5.3-codex", input="echo: more", previous_response_id=whole.id)
pieces = list(client.responses.create(model_name="gpt-5.5", input="echo: hello there", stream=True))
calls = client.responses.create(
    model_name="gpt-5.5", input=[asked], tools=[tool], store=False, include=["reasoning.encrypted_content"])
results = [{"type": "function_call_output", "call_id": item.call_id, "output": "rain"}
    for item in calls.output if item.type == "function_call"]
answer = client.responses.create(
    model_name="gpt-5.5", input=[asked, *calls.output, *results], tools=[tool], store=False)
parsed = client.responses.parse(model_name="gpt-5", input="where?", text_format=Place)
print(json.dumps({
    "whole": whole.output_text,
    "onward": onward.output_text,
    "streamed": "".join(p.delta for p in pieces if p.type == "response.output_text.delta"),
    "ended": pieces[-1].response.status,
    "answer": answer.output_text,
    "parsed": parsed.output_parsed.city,
}))
"""

EXPECTED = {
    "whole": "hello there",
    "onward": "more",
    "streamed": "hello there",
    "ended": "completed",
    "answer": "The tool answered: rain",
    "parsed": "simulated",
}


def test_sap_sdk_responds_streams_and_calls_tools(sim: Simulator, tmp_path: object) -> None:
    """Stored and stateless, with a schema, against codex and gpt-5.5."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AICORE_")}
    environment |= sim.environment() | {"AICORE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert 0 == done.returncode, done.stderr
    assert EXPECTED == json.loads(done.stdout)
