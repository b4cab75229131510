"""Azure's Responses API: what is refused, what is remembered, and how answers look (wire §4.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import openai
import pytest

from perf.simulator.answers import EventStream, Refused, Reply
from perf.simulator.errors import Problem
from perf.simulator.executables import responses
from perf.simulator.executables.base import Call, Handler
from perf.simulator.launch import Simulator
from perf.simulator.models import MODELS
from perf.simulator.settings import Pace
from tests.perf.simulator.conftest import VERSION, Tenant, fetch_token, frames

SEALED = "reasoning.encrypted_content"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
STRICT = CITY | {"required": ["city"], "additionalProperties": False}


def tool(name: str = "get_weather", **members: Any) -> dict[str, Any]:
    """A function that is not strict."""
    return {"type": "function", "name": name, "parameters": CITY, "strict": False, **members}


def output(call_id: str, said: str = "rain") -> dict[str, Any]:
    """What a function gave."""
    return {"type": "function_call_output", "call_id": call_id, "output": said}


class Deployment:
    """A deployment without the network, with a memory of its own."""

    def __init__(self, model: str = "gpt-5.5", **pace: Any) -> None:
        self.model = MODELS[model]
        self.memory: dict[str, Any] = {}
        self.pace = Pace(**pace)

    def ask(self, handler: Handler, subpath: str, body: Any = None, **query: str) -> Reply | EventStream:
        """The answer of a handler, or the refusal."""
        raw = msgspec.json.encode(body)
        call = Call(self.model, query, raw, self.pace, subpath, self.memory)
        try:
            return handler(call)
        except Refused as refused:
            return refused.reply

    def create(self, given: Any = "echo: hello there", **fields: Any) -> dict[str, Any]:
        """A response, or the error with its status."""
        return read(self.ask(responses.create, "responses", {"input": given, **fields}))

    def stream(self, given: Any = "echo: hello there", **fields: Any) -> EventStream:
        """A stream."""
        answer = self.ask(responses.create, "responses", {"input": given, "stream": True, **fields})
        assert isinstance(answer, EventStream)
        return answer


def read(answer: Reply | EventStream) -> dict[str, Any]:
    """The document of a unary answer; of a refusal the error, with its status."""
    assert isinstance(answer, Reply)
    document: dict[str, Any] = json.loads(answer.body)
    return document if answer.status == 200 else {"status": answer.status, **document["error"]}


def events(stream: EventStream) -> list[dict[str, Any]]:
    """All events of a stream."""
    steps = (step for step in stream.frames if isinstance(step, bytes))
    return frames(b"".join([*steps, stream.done]).decode())


@pytest.fixture
def deployment() -> Deployment:
    """One of gpt-5.5."""
    return Deployment()


# refusals


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        (
            {"tools": [{"type": "web_search"}, tool(), {"type": "custom"}, {"type": "tool_search"}]},
            "The following tools are not allowed for model 'gpt-5.5': custom, tool_search and web_search.",
            "tools",
        ),
        (
            {"tools": [{"type": "web_search"}]},
            "The following tools are not allowed for model 'gpt-5.5': web_search.",
            "tools",
        ),
        ({"seed": 1}, "Unknown parameter: 'seed'.", "seed"),
        ({"messages": []}, "Unknown parameter: 'messages'.", "messages"),
        (
            {"max_output_tokens": 15},
            "Invalid 'max_output_tokens': integer below minimum value. "
            "Expected a value >= 16, but got 15 instead.",
            "max_output_tokens",
        ),
        (
            {"temperature": 1},
            "Unsupported parameter: 'temperature' is not supported with this model.",
            "temperature",
        ),
        ({"top_p": 0.5}, "Unsupported parameter: 'top_p' is not supported with this model.", "top_p"),
        (
            {"reasoning": {"effort": "minimal"}},
            "Unsupported value: 'minimal' is not supported with the 'gpt-5.5' model. "
            "Supported values are: 'none', 'low', 'medium', 'high', 'xhigh'.",
            "reasoning.effort",
        ),
        (
            {"tools": [tool()], "tool_choice": {"type": "function", "name": "gone"}},
            "Tool choice 'gone' not found in 'tools' parameter.",
            "tool_choice",
        ),
        (
            {"tools": [tool()], "tool_choice": {"type": "web_search"}},
            "Tool choice 'web_search' not found in 'tools' parameter.",
            "tool_choice",
        ),
        (
            {"tool_choice": "required"},
            "Tool choice 'required' must be specified with 'tools' parameter.",
            "tool_choice",
        ),
        (
            {"tool_choice": "any"},
            "Invalid value: 'any'. Supported values are: 'none', 'auto', 'required'.",
            "tool_choice",
        ),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": CITY}]},
            "Invalid schema for function 'f': In context=(), "
            "'additionalProperties' is required to be supplied and to be false.",
            "tools[0].parameters",
        ),
        (
            {"tools": [tool(parameters=CITY | {"additionalProperties": False}, strict=True)]},
            "Invalid schema for function 'get_weather': In context=(), 'required' is required to be supplied "
            "and to be an array including every key in properties. Missing 'city'.",
            "tools[0].parameters",
        ),
        (
            {"text": {"format": {"type": "json_schema", "schema": STRICT}}},
            "Missing required parameter: 'text.format.name'.",
            "text.format.name",
        ),
        (
            {"text": {"format": {"type": "json_object"}}},
            "Response input messages must contain the word 'json' in some form to use 'text.format' "
            "of type 'json_object'.",
            "input",
        ),
        (
            {"stream_options": {"include_obfuscation": False}},
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        ),
        (
            {"background": True, "store": False},
            "Background mode requires 'store' to be true.",
            "background",
        ),
    ],
)
def test_fields_are_refused_by_name(
    deployment: Deployment, fields: dict[str, Any], message: str, param: str
) -> None:
    """400 with the text and the parameter."""
    error = deployment.create("hi", **fields)

    assert (400, message, param) == (error["status"], error["message"], error["param"])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (output("call_x"), "No tool call found for function call output with call_id call_x."),
        (
            {"type": "function_call", "call_id": "call_x", "name": "f", "arguments": "{}"},
            "No tool output found for function call call_x.",
        ),
        (
            {"type": "function_call", "id": "call_x", "call_id": "call_x", "name": "f", "arguments": "{}"},
            "Invalid 'input[0].id': 'call_x'. Expected an ID that begins with 'fc'.",
        ),
        (
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "EqoBforeign"},
            "The encrypted content for item rs_1 could not be verified. "
            "Reason: Encrypted content could not be decrypted or parsed.",
        ),
        (
            {"type": "reasoning", "id": "rs_1", "encrypted_content": "x"},
            "Missing required parameter: 'input[0].summary'.",
        ),
        (
            {"role": "user", "content": [{"type": "output_text", "text": "x"}]},
            "Invalid value: 'output_text'. Supported values are: 'input_text', 'input_image', 'input_file'.",
        ),
        (
            {"role": "assistant", "content": [{"type": "input_text", "text": "x"}]},
            "Invalid value: 'input_text'. Supported values are: 'output_text', 'refusal'.",
        ),
        ({"role": "user", "content": "x", "name": "me"}, "Unknown parameter: 'input[0].name'."),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "file:///x"}]},
            "Invalid 'input[0].content[0].image_url'. "
            "Expected a valid URL, but got a value with an invalid format.",
        ),
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": ""},
            "Invalid value for 'input[0].type': Invalid value 'custom_tool_call'.",
        ),
    ],
)
def test_items_are_refused(deployment: Deployment, item: dict[str, Any], message: str) -> None:
    """400 with the text."""
    error = deployment.create([item])

    assert (400, message) == (error["status"], error["message"])


@pytest.mark.parametrize(
    "item", [{"type": "item_reference", "id": "rs_9"}, {"type": "reasoning", "id": "rs_9", "summary": []}]
)
def test_an_item_that_was_not_stored_is_not_found(deployment: Deployment, item: dict[str, Any]) -> None:
    """404: only the id is known of it."""
    error = deployment.create([item])

    assert (404, "Item with id 'rs_9' not found.") == (error["status"], error["message"][:30])


def test_reasoning_without_a_follower_is_refused(deployment: Deployment) -> None:
    """Genuine, but an orphan."""
    first, _ = deployment.create(include=[SEALED], store=False)["output"]
    error = deployment.create([first, {"role": "user", "content": "go on"}])

    assert "was provided without its required following item." in error["message"]


def test_older_models_take_sampling_and_refuse_reasoning() -> None:
    """gpt-4.1."""
    deployment = Deployment("gpt-4.1")

    assert 0.2 == deployment.create(temperature=0.2, top_p=0.5)["temperature"]
    assert "reasoning.effort" == deployment.create(reasoning={"effort": "low"})["param"]
    assert (
        "Encrypted content is not supported with this model."
        == (deployment.create(include=[SEALED])["message"])
    )


def test_embedding_models_have_no_responses() -> None:
    """An operation that is not theirs."""
    assert "OperationNotSupported" == Deployment("text-embedding-3-small").create()["code"]


@pytest.mark.parametrize(("query", "status"), [({}, None), ({"api-version": "2025-03-01-preview"}, None)])
def test_api_version_may_be_left_out(
    deployment: Deployment, query: dict[str, str], status: int | None
) -> None:
    """Unlike behind chat completions (wire §4.2)."""
    assert "status" in read(deployment.ask(responses.create, "responses", {"input": "x"}, **query))


def test_an_ill_formed_api_version_is_not_found(deployment: Deployment) -> None:
    """404."""
    answer = deployment.ask(responses.create, "responses", {"input": "x"}, **{"api-version": "v1"})

    assert 404 == read(answer)["status"]


# answers


def test_the_response_object_has_azures_extras(deployment: Deployment) -> None:
    """Filters, usage with details, and the settings told back."""
    answer = deployment.create(reasoning={"effort": "low", "summary": "auto"}, prompt_cache_key="k")
    reasoning, message = answer["output"]

    assert ("completed", "gpt-5.5-2026-04-24", "k") == (
        answer["status"],
        answer["model"],
        answer["prompt_cache_key"],
    )
    assert ["prompt", "completion"] == [one["source_type"] for one in answer["content_filters"]]
    assert {"reasoning_tokens": 8} == answer["usage"]["output_tokens_details"]
    assert answer["usage"]["total_tokens"] == 10 + answer["usage"]["input_tokens"]
    assert ("rs_", "msg_", "resp_") == (reasoning["id"][:3], message["id"][:4], answer["id"][:5])
    assert "hello there" == message["content"][0]["text"]
    assert 1 == len(reasoning["summary"])


@pytest.mark.parametrize(("summary", "parts"), [(None, 0), ("auto", 1), ("concise", 1), ("detailed", 2)])
def test_a_summary_comes_when_asked_for(deployment: Deployment, summary: str | None, parts: int) -> None:
    """Never unasked."""
    assert parts == len(deployment.create(reasoning={"summary": summary})["output"][0]["summary"])


def test_effort_none_does_not_reason(deployment: Deployment) -> None:
    """No item, no tokens."""
    answer = deployment.create(reasoning={"effort": "none"})

    assert ["message"] == [item["type"] for item in answer["output"]]


def test_tools_are_called_and_their_results_end_the_loop(deployment: Deployment) -> None:
    """Stateless: everything is sent back, reasoning encrypted."""
    asked = {"role": "user", "content": "get_weather and get_time"}
    tools = [tool(), tool("get_time")]
    settings: dict[str, Any] = {"tools": tools, "store": False, "include": [SEALED]}
    called = deployment.create([asked], **settings)["output"]
    results = [output(item["call_id"]) for item in called if item["type"] == "function_call"]
    answer = deployment.create([asked, *called, *results], **settings)

    assert ["reasoning", "function_call", "function_call"] == [item["type"] for item in called]
    assert all(item["id"][:3] == "fc_" and item["call_id"][:5] == "call_" for item in called[1:])
    assert "The tool answered: rain" == answer["output"][1]["content"][0]["text"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"parallel_tool_calls": False}, ["a_tool"]),
        ({"tool_choice": "none"}, []),
        ({"tool_choice": {"type": "function", "name": "b_tool"}}, ["b_tool"]),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "b_tool"}],
                }
            },
            ["b_tool"],
        ),
    ],
)
def test_the_choice_of_tools_is_honoured(
    deployment: Deployment, fields: dict[str, Any], names: list[str]
) -> None:
    """One, none, a named one, or one of those allowed."""
    answer = deployment.create("a_tool and b_tool", tools=[tool("a_tool"), tool("b_tool")], **fields)

    assert names == [item["name"] for item in answer["output"] if item["type"] == "function_call"]


def test_strict_is_the_default_and_is_told_back(deployment: Deployment) -> None:
    """`strict` left out turns it on (wire §8.8)."""
    answer = deployment.create(tools=[{"type": "function", "name": "f", "parameters": STRICT}])

    assert [True] == [one["strict"] for one in answer["tools"]]


def test_a_schema_shapes_the_answer(deployment: Deployment) -> None:
    """`text.format`."""
    wanted = {"type": "json_schema", "name": "place", "schema": STRICT, "strict": True}
    answer = deployment.create("where?", text={"format": wanted})

    assert {"city": "simulated"} == json.loads(answer["output"][1]["content"][0]["text"])


def test_the_limit_cuts_the_answer(deployment: Deployment) -> None:
    """`incomplete`, with the reason."""
    answer = deployment.create("[[tokens:50]]", max_output_tokens=20)

    assert ("incomplete", {"reason": "max_output_tokens"}, "incomplete") == (
        answer["status"],
        answer["incomplete_details"],
        answer["output"][1]["status"],
    )
    assert 20 == answer["usage"]["output_tokens"]


def test_logprobs_come_when_included() -> None:
    """With the alternatives asked for."""
    answer = Deployment("gpt-4.1").create(include=["message.output_text.logprobs"], top_logprobs=2)
    scores = answer["output"][0]["content"][0]["logprobs"]

    assert [("hello", 2), (" there", 2)] == [(one["token"], len(one["top_logprobs"])) for one in scores]


# memory


def test_a_conversation_goes_on_from_what_was_stored(deployment: Deployment) -> None:
    """`previous_response_id` brings the call for the output that is sent alone."""
    first = deployment.create("get_weather", tools=[tool()])
    second = deployment.create(
        [output(first["output"][1]["call_id"])], previous_response_id=first["id"], tools=[tool()]
    )

    assert "The tool answered: rain" == second["output"][1]["content"][0]["text"]
    assert first["usage"]["input_tokens"] < second["usage"]["input_tokens"]


def test_a_long_conversation_is_read_from_the_cache(deployment: Deployment) -> None:
    """In steps of 128 tokens, from 1024 on."""
    first = deployment.create("x" * 8000)
    second = deployment.create("go on", previous_response_id=first["id"])

    assert 0 == first["usage"]["input_tokens_details"]["cached_tokens"]
    assert 2048 == second["usage"]["input_tokens_details"]["cached_tokens"]


def test_stored_items_can_be_referred_to(deployment: Deployment) -> None:
    """By their id alone."""
    kept = deployment.create()["output"]
    references = [{"type": "item_reference", "id": item["id"]} for item in kept]
    answer = deployment.create([*references, {"role": "user", "content": "echo: more"}])

    assert "more" == answer["output"][1]["content"][0]["text"]


@pytest.mark.parametrize("store", [True, False])
def test_another_deployment_knows_nothing_of_it(store: bool) -> None:
    """404 for `previous_response_id`; also at home if it was not stored."""
    home = Deployment()
    key = home.create(store=store)["id"]
    error = (Deployment() if store else home).create(previous_response_id=key)

    assert (404, "previous_response_not_found", f"Previous response with id '{key}' not found.") == (
        error["status"],
        error["code"],
        error["message"],
    )


def test_a_background_response_is_polled(deployment: Deployment) -> None:
    """queued, in_progress, completed; the output comes with the last."""
    queued = deployment.create(background=True)
    path = f"responses/{queued['id']}"
    seen = [queued, *(read(deployment.ask(responses.show, path)) for _ in range(3))]

    assert ["queued", "in_progress", "completed", "completed"] == [one["status"] for one in seen]
    assert [0, 0, 2, 2] == [len(one["output"]) for one in seen]


def test_a_background_response_can_be_cancelled(deployment: Deployment) -> None:
    """And stays so."""
    path = f"responses/{deployment.create(background=True)['id']}"
    cancelled = [read(deployment.ask(responses.cancel, f"{path}/cancel")) for _ in range(2)]

    assert ["cancelled", "cancelled"] == [one["status"] for one in cancelled]
    assert "cancelled" == read(deployment.ask(responses.show, path))["status"]


def test_a_synchronous_response_cannot_be_cancelled(deployment: Deployment) -> None:
    """The error of wire §4.2, member by member."""
    path = f"responses/{deployment.create()['id']}/cancel"
    answer = deployment.ask(responses.cancel, path)

    assert isinstance(answer, Reply)
    assert {
        "error": {
            "code": None,
            "message": "Cannot cancel a synchronous response.",
            "param": None,
            "type": "invalid_request_error",
        }
    } == json.loads(answer.body)


def test_the_store_is_bounded(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest response makes room, and its items are forgotten with it."""
    monkeypatch.setattr("perf.simulator.executables.responses_store.MAX_STORED", 2)
    keys = [deployment.create()["id"] for _ in range(3)]
    found = [read(deployment.ask(responses.show, f"responses/{key}"))["status"] for key in keys]

    assert [404, "completed", "completed"] == found
    assert 4 == len(deployment.memory["responses"].items)


def test_compaction_leaves_the_user_and_a_secret(deployment: Deployment) -> None:
    """The secret is taken back, and only from here."""
    items = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    compacted = read(deployment.ask(responses.compact, "responses/compact", {"input": items}))
    said, secret = compacted["output"]
    onward = [said, {k: secret[k] for k in ("type", "id", "encrypted_content")}]
    onward.append({"role": "user", "content": "echo: on"})

    assert ("response.compaction", "compaction") == (compacted["object"], secret["type"])
    assert "on" == deployment.create(onward)["output"][1]["content"][0]["text"]
    assert (
        "invalid_encrypted_content"
        == (deployment.create([{"type": "compaction", "encrypted_content": "x"}])["code"])
    )


# streams

SEQUENCE = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "response.reasoning_summary_part.done",
    "response.output_item.done",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def test_a_stream_tells_everything_in_order(deployment: Deployment) -> None:
    """Numbered from 0, data lines only, no `[DONE]` (wire §8.10)."""
    seen = events(deployment.stream(reasoning={"summary": "auto"}))
    kinds = [event["type"] for event in seen]
    once = [kind for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]

    assert SEQUENCE == once
    assert list(range(len(seen))) == [event["sequence_number"] for event in seen]
    assert seen[-1]["response"]["output"] == [
        event["item"] for event in seen if event["type"] == "response.output_item.done"
    ]


def test_calls_stream_in_pieces(deployment: Deployment) -> None:
    """The arguments joined are the arguments done."""
    seen = events(deployment.stream("get_weather", tools=[tool()]))
    pieces = [e["delta"] for e in seen if e["type"] == "response.function_call_arguments.delta"]
    (done,) = [e for e in seen if e["type"] == "response.function_call_arguments.done"]

    assert 1 < len(pieces)
    assert ("".join(pieces), "get_weather") == (done["arguments"], done["name"])


@pytest.mark.parametrize(("options", "there"), [(None, True), ({"include_obfuscation": False}, False)])
def test_deltas_are_padded_unless_told_otherwise(
    deployment: Deployment, options: dict[str, bool] | None, there: bool
) -> None:
    """`obfuscation`."""
    deltas = [e for e in events(deployment.stream(stream_options=options)) if "delta" in e]

    assert {there} == {"obfuscation" in delta for delta in deltas}


def test_a_background_stream_is_queued_first(deployment: Deployment) -> None:
    """One event more."""
    seen = events(deployment.stream(background=True))

    assert "response.queued" == seen[1]["type"]


@pytest.mark.parametrize("sent", [1, 2, 6])
def test_throttling_ends_a_stream_wherever_it_is(deployment: Deployment, sent: int) -> None:
    """`response.failed` without an error, then the error, numbered on (wire §4.2)."""
    stream = deployment.stream()
    assert stream.failed is not None
    list(islice(stream.frames, sent))
    failed, error = frames(stream.failed(Problem(429, "too many", "429")).decode())

    assert ("response.failed", None, sent) == (
        failed["type"],
        failed["response"]["error"],
        failed["sequence_number"],
    )
    assert ("error", "too_many_requests", sent + 1) == (
        error["type"],
        error["error"]["code"],
        error["sequence_number"],
    )


def test_silence_is_kept_before_each_piece() -> None:
    """The pace of the simulator, in seconds."""
    steps = list(Deployment(chunk_interval_ms=20).stream().frames)

    assert [0.02, 0.02] == [step for step in steps if isinstance(step, float)]


# over the network


def test_a_response_has_an_address(alpha: Tenant) -> None:
    """GET, DELETE, and 404 afterwards; another method is 405, another path 403."""
    base = f"{alpha.url('gpt-5.3-codex')}/responses"
    url = f"{base}/{alpha.client.post(base, json={'input': 'x'}).json()['id']}"
    statuses = [alpha.client.request(m, url).status_code for m in ("GET", "PUT", "DELETE", "GET", "DELETE")]

    assert [200, 405, 200, 404, 404] == statuses
    assert 403 == alpha.client.get(f"{url}/input_items").status_code
    assert 405 == alpha.client.get(base).status_code


def test_codex_has_responses_only(alpha: Tenant) -> None:
    """Chat completions refuse it (wire §4.2)."""
    answer = alpha.chat("gpt-5.3-codex")

    assert (400, "OperationNotSupported") == (answer.status_code, answer.json()["error"]["code"])


def test_gpt_5_5_reasons_with_tools_only_here(alpha: Tenant) -> None:
    """The text of wire §5.1 from chat completions; without effort they work."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    answer = alpha.chat("gpt-5.5", tools=tools, reasoning_effort="low")

    assert (
        "Function tools with reasoning_effort are not supported for gpt-5.5-2026-04-24-dz-std in "
        "/v1/chat/completions. Please use /v1/responses instead."
    ) == answer.json()["error"]["message"]
    assert 200 == alpha.chat("gpt-5.5", tools=tools).status_code


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("throttled", ["response.created", "response.failed", "error"]),
        ("no-done", SEQUENCE[:3]),
        ("error-frame:1", SEQUENCE[:3]),
    ],
)
def test_faults_come_in_this_dialect(alpha: Tenant, fault: str, kinds: list[str]) -> None:
    """The throttling sequence, or a stream without its last event."""
    answer = alpha.client.post(
        f"{alpha.url('gpt-5.5')}/responses{VERSION}",
        json={"input": "echo: hi", "stream": True},
        headers={"x-sim-fault": fault},
    )
    seen = [event["type"] for event in frames(answer.text)]

    assert (200, kinds) == (answer.status_code, seen[: len(kinds)])
    assert "response.completed" not in seen


def test_a_fault_is_asked_for_in_the_last_message_only(alpha: Tenant) -> None:
    """Older ones do not count."""
    base = f"{alpha.url('gpt-5.5')}/responses"
    old = {"role": "user", "content": "[[fault:503]]"}
    new = {"role": "user", "content": "echo: hi"}

    assert 503 == alpha.client.post(base, json={"input": [old]}).status_code
    assert 200 == alpha.client.post(base, json={"input": [old, new]}).status_code


@pytest.fixture
def client(sim: Simulator) -> Iterator[openai.OpenAI]:
    """OpenAI's own SDK at a deployment of gpt-5.5."""
    url = sim.deployments("gpt-5.5", tenant="alpha")[0]["url"]
    headers = {"AI-Resource-Group": "default"}
    with openai.OpenAI(
        base_url=url, api_key=fetch_token(sim), default_headers=headers, max_retries=0
    ) as made:
        yield made


def test_openais_sdk_puts_a_stream_together(client: openai.OpenAI) -> None:
    """Its accumulator refuses events that do not fit each other."""
    asked: Any = {"reasoning": {"summary": "detailed"}, "tools": [tool(), tool("get_time")]}
    with client.responses.stream(model="gpt-5.5", input="get_weather, get_time", **asked) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()

    assert ["reasoning", "function_call", "function_call"] == [item.type for item in final.output]
    assert {"response.created", "response.completed"} <= kinds


def test_openais_sdk_polls_cancels_and_deletes(client: openai.OpenAI) -> None:
    """The whole life of a background response."""
    first = client.responses.create(model="gpt-5.5", input="x", background=True)
    seen = client.responses.retrieve(first.id)
    cancelled = client.responses.cancel(first.id)
    client.responses.delete(first.id)

    assert ["queued", "in_progress", "cancelled"] == [first.status, seen.status, cancelled.status]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
