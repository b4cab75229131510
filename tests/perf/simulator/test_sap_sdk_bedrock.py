"""SAP's own client of Bedrock models, which is Amazon's boto3 underneath, against the simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from perf.simulator.launch import Simulator

# In a process of its own: the SDK imports a great deal and warns of things that are not ours to mend. Its
# module also imports aiobotocore, for a client that is not used here; that package binds an older botocore.
SCRIPT = """
import json, sys, types
for name, members in {
    "aiobotocore": (), "aiobotocore.session": ("get_session",), "aiobotocore.client": ("AioBaseClient",),
    "aiobotocore.config": ("AioConfig",),
}.items():
    module = sys.modules[name] = types.ModuleType(name)
    for member in members:
        setattr(module, member, type(member, (), {}))
sys.modules["aiobotocore"].session = sys.modules["aiobotocore.session"]

from gen_ai_hub.proxy.native.amazon import Session

session = Session(aws_access_key_id="unused", aws_secret_access_key="unused")
claude = session.client(model_name="anthropic--claude-4.5-sonnet")
nova = session.client(model_name="amazon--nova-pro")
titan = session.client(model_name="amazon--titan-embed-text")

def body(said, **fields):
    messages = [{"role": "user", "content": said}]
    return json.dumps({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 4096, "messages": messages, **fields,
    })

def talk(said):
    return [{"role": "user", "content": [{"text": said}]}]

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
TOOLS = {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}]}

whole = json.loads(claude.invoke_model(body=body("echo: It's größer"))["body"].read())
chunks = claude.invoke_model_with_response_stream(body=body("echo: It's größer"))["body"]
events = [json.loads(event["chunk"]["bytes"]) for event in chunks]
answer = nova.converse(messages=talk("echo: It's größer"))
streamed = list(nova.converse_stream(messages=talk("use weather"), toolConfig=TOOLS)["stream"])
call = next(e["contentBlockStart"]["start"]["toolUse"] for e in streamed if "contentBlockStart" in e)
arguments = "".join(
    e["contentBlockDelta"]["delta"].get("toolUse", {}).get("input", "") for e in streamed
    if "contentBlockDelta" in e
)
loop = talk("use weather") + [
    {"role": "assistant", "content": [{"toolUse": {**call, "input": json.loads(arguments)}}]},
    {"role": "user", "content": [
        {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"json": {"n": 2}}]}}
    ]},
]
result = nova.converse(messages=loop, toolConfig=TOOLS)
picture = {"image": {"format": "png", "source": {"bytes": b"\\x89PNG"}}}
thought = session.client(model_name="anthropic--claude-4.6-sonnet").converse(
    messages=[{"role": "user", "content": [{"text": "echo: seen"}, picture]}],
    additionalModelRequestFields={"thinking": {"type": "adaptive"}},
)
vector = json.loads(titan.invoke_model(body=json.dumps({"inputText": "hello"}))["body"].read())

def refused(call):
    try:
        list(call())
    except Exception as error:
        return [error.response["Error"]["Code"], error.response["Error"]["Message"]]

unpaired = [*loop[:2], *talk("x")]
print(json.dumps({
    "whole": whole["content"][0]["text"],
    "streamed": "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta"),
    "metrics": "amazon-bedrock-invocationMetrics" in events[-1],
    "nova": answer["output"]["message"]["content"][0]["text"],
    "tool": [call["name"], arguments, [next(iter(e)) for e in streamed][-2:]],
    "result": result["output"]["message"]["content"][0]["text"],
    "thought": [next(iter(block)) for block in thought["output"]["message"]["content"]],
    "vector": len(vector["embedding"]),
    "unpaired": refused(lambda: nova.converse_stream(messages=unpaired, toolConfig=TOOLS)["stream"])[1],
    "stream": refused(lambda: claude.invoke_model(body=body("x", stream=True)))[1],
    "throttled": refused(lambda: nova.converse_stream(messages=talk("[[fault:error-frame]]"))["stream"]),
    "broken": refused(
        lambda: claude.invoke_model_with_response_stream(body=body("[[fault:error-first]]"))["body"]
    ),
}))
"""

EXPECTED = {
    "whole": "It's größer",
    "streamed": "It's größer",
    "metrics": True,
    "nova": "It's größer",
    "tool": ["weather", '{"n": 1}', ["messageStop", "metadata"]],
    "result": 'The tool answered: {"n":2}',
    "thought": ["reasoningContent", "text"],
    "vector": 1024,
    "stream": "stream: Extra inputs are not permitted",
    "throttled": ["throttlingException", "exceeded token rate limit"],
    "broken": ["throttlingException", "exceeded token rate limit"],
}


@pytest.fixture
def answer(sim: Simulator, tmp_path: object) -> Any:
    """What the script prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AICORE_", "AWS_"))}
    environment |= sim.environment() | {"AICORE_HOME": str(tmp_path), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def test_sap_sdk_invokes_converses_streams_and_embeds(answer: Any) -> None:
    """Whole answers, binary streams, tool loops, images, refusals and exceptions, as boto3 reads them."""
    assert answer.pop("unpaired").startswith("Expected toolResult blocks at messages.2.content")
    assert EXPECTED == answer
