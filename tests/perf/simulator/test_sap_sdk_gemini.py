"""SAP's own Python SDK against Gemini, Perplexity and NVIDIA: a client that none of us wrote.

Its Gemini client is Google's, which drives the tool loop itself and sends every frame back as a content.
Embeddings of Gemini are left out: the Google client beneath asks for another method than the `predict` that
the allow-list has (wire §4).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from perf.simulator.launch import Simulator

SCRIPT = """
import json
from gen_ai_hub.proxy.core.proxy_clients import get_proxy_client
from gen_ai_hub.proxy.native.google_genai import Client
from gen_ai_hub.proxy.native.openai import OpenAI
from google.genai import errors, types

proxy = get_proxy_client("gen-ai-hub")
client = Client(proxy_client=proxy)
ask, stream = client.models.generate_content, client.models.generate_content_stream
FLASH, LITE = "gemini-3.5-flash", "gemini-2.5-flash-lite"

def get_weather(city: str) -> str:
    '''The weather of a city.'''
    return f"sun over {city}"

def get_time(zone: str) -> str:
    '''The time of a zone.'''
    return f"noon in {zone}"

tools = types.GenerateContentConfig(tools=[get_weather, get_time])
thoughts = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
both = "ask get_weather and get_time"

def refused(call):
    try:
        call()
    except errors.ClientError as error:
        return [error.code, error.status, error.message]

def text(chunks):
    parts = [p for c in chunks for p in c.candidates[0].content.parts or []]
    return "".join(p.text for p in parts if p.text and not p.thought)

whole = ask(model=LITE, contents="echo: hello there")
frames = list(stream(model=FLASH, contents="echo: hello there", config=thoughts))
looped = ask(model=FLASH, contents=both, config=tools)
streamed_loop = list(stream(model=FLASH, contents=both, config=tools))
six = types.GenerateContentConfig(stop_sequences=list("abcdef"))
blocked = ask(model=LITE, contents="[[block:SAFETY]]").prompt_feedback

openai = OpenAI(proxy_client=proxy)
hello = [{"role": "user", "content": "echo: hello there"}]
sonar = openai.chat.completions.create(model_name="sonar", messages=hello)
sonar_stream = list(openai.chat.completions.create(model_name="sonar", messages=hello, stream=True))
vector = openai.embeddings.create(
    model_name="nvidia--llama-3.2-nv-embedqa-1b", input=["a"], extra_body={"input_type": "query"}
)
print(json.dumps({
    "whole": whole.text,
    "usage": whole.usage_metadata.total_token_count,
    "thoughts": "".join(p.text for c in frames for p in c.candidates[0].content.parts if p.thought),
    "streamed": text(frames),
    "finish": frames[-1].candidates[0].finish_reason.value,
    "looped": looped.text,
    "streamed_loop": text(streamed_loop),
    "blocked": blocked.block_reason.value,
    "refused": refused(lambda: ask(model=LITE, contents="x", config=six)),
    "refused_stream": refused(lambda: list(stream(model=LITE, contents="x", config=six))),
    "sonar": sonar.choices[0].message.content,
    "citations": len(sonar.citations),
    "sonar_stream": "".join(c.choices[0].delta.content for c in sonar_stream),
    "vector": len(vector.data[0].embedding),
}))
"""

REFUSED = [
    400,
    "INVALID_ARGUMENT",
    "Unable to submit request because it has 6 stopSequences but the maximum is 5.",
]
LOOPED = "The tool answered: sun over simulated\nnoon in simulated"
EXPECTED = {
    "whole": "hello there",
    "thoughts": "Weighing what was asked.",
    "streamed": "hello there",
    "finish": "STOP",
    "looped": LOOPED,
    "streamed_loop": LOOPED,
    "blocked": "SAFETY",
    "refused": REFUSED,
    "refused_stream": REFUSED,
    "sonar": "hello there",
    "citations": 2,
    "sonar_stream": "hello there",
    "vector": 2048,
}


def test_sap_sdk_generates_streams_and_loops(sim: Simulator, tmp_path: object) -> None:
    """Answers right, parallel tool calls answered, signatures returned, refusals understood."""
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
    answer = json.loads(done.stdout)
    assert 0 < answer.pop("usage")
    assert EXPECTED == answer
