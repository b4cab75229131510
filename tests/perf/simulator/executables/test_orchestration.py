"""Orchestration's envelope: its schema, templates, models, fall-backs and streams (wire §4.7, §6.2)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from perf.simulator.answers import EventStream, Reply
from perf.simulator.launch import Simulator
from tests.perf.simulator.conftest import Tenant, frames
from tests.perf.simulator.executables.orchestrated import (
    CLAUDE,
    USER,
    ask,
    body,
    modules,
    read,
    said,
    send,
    streamed,
)

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]
FILTER = {"type": "azure_content_safety", "config": {"hate": 3}}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "place", "schema": PARAMETERS},
}


def templated(model: dict[str, Any], **prompt: Any) -> dict[str, Any]:
    """A request whose model is written out."""
    return body({"prompt_templating": {"prompt": {"template": [USER], **prompt}, "model": model}})


def message(content: Any = "x", role: str = "user", **members: Any) -> dict[str, Any]:
    """A request with one message of the history."""
    return body(modules(), messages_history=[{"role": role, "content": content, **members}])


# the schema


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({}, "'config' is a required property"),
        ({"config": {}}, "'modules' is a required property - 'config'"),
        (
            {**body(modules()), "input_params": {}},
            "Additional properties are not allowed ('input_params' was unexpected)",
        ),
        (
            {"config": {"modules": modules(), "streaming": True}},
            "Additional properties are not allowed ('streaming' was unexpected) - 'config'",
        ),
        (
            body({**modules(), "llm": {}}),
            "Additional properties are not allowed ('llm' was unexpected) - 'config.modules'",
        ),
        (
            templated({"name": "gpt-5", "temperature": 1}),
            "Additional properties are not allowed ('temperature' was unexpected) "
            "- 'config.modules.prompt_templating.model'",
        ),
        (
            templated({"name": "gpt-5"}, tool_choice="auto"),
            "Additional properties are not allowed ('tool_choice' was unexpected) "
            "- 'config.modules.prompt_templating.prompt'",
        ),
        (
            templated({"name": "gpt-5", "max_retries": 6}),
            "Expected `int` <= 5 - 'config.modules.prompt_templating.model.max_retries'",
        ),
        (
            templated({"name": "gpt-5", "timeout": 1201}),
            "Expected `int` <= 1200 - 'config.modules.prompt_templating.model.timeout'",
        ),
        (
            templated({"name": "gpt-5", "timeout": 0}),
            "Expected `int` >= 1 - 'config.modules.prompt_templating.model.timeout'",
        ),
        (
            {"config": {"modules": modules(), "stream": {"enabled": True, "chunk_size": 0}}},
            "Expected `int` >= 1 - 'config.stream.chunk_size'",
        ),
        (
            message(name="me"),
            "Additional properties are not allowed ('name' was unexpected) - 'messages_history[0]'",
        ),
        (
            message(None, "assistant"),
            "Expected `str | array`, got `null` - 'messages_history[0].content'",
        ),
        (
            message([{"type": "text", "text": "x", "annotations": []}]),
            "Additional properties are not allowed ('annotations' was unexpected) "
            "- 'messages_history[0].content[0]'",
        ),
        (
            {**body(modules()), "placeholder_values": {"x": 1}},
            "Expected `str`, got `int` - 'placeholder_values[...]'",
        ),
        (
            templated({"name": "gpt-5"}, tools=[{"type": "function", "function": {"name": "a b"}}]),
            "Expected `str` matching regex '^[a-zA-Z0-9_-]{1,64}$' "
            "- 'config.modules.prompt_templating.prompt.tools[0].function.name'",
        ),
        (
            body(modules(filtering={"input": {"filters": [FILTER]}})),
            "Invalid enum value 3 - 'config.modules.filtering.input.filters[0].config.hate'",
        ),
        (
            body({"prompt_templating": {"model": {"name": "gpt-5"}}}),
            "Either a prompt template or messages must be defined",
        ),
    ],
)  # fmt: skip
def test_the_schema_is_strict(document: Any, text: str) -> None:
    """400 with the place, wherever something is not named or has no right value."""
    error = read(send(document))

    assert (400, "request body", text) == (error["code"], error["location"], error["message"])


def test_what_is_not_json_is_refused() -> None:
    """In the same shape."""
    assert {"request_id", "code", "message", "location"} == set(read(send(b"{")))


@pytest.mark.parametrize(
    ("details", "text", "location"),
    [
        ({"name": "gpt-9"}, "400 - Request Body: Model gpt-9 not supported.", "Request Body"),
        (
            {"name": "gpt-5.3-codex"},
            "400 - Request Body: Model gpt-5.3-codex not supported.",
            "Request Body",
        ),
        (
            {"name": "text-embedding-3-small"},
            "400 - Request Body: Model text-embedding-3-small not supported.",
            "Request Body",
        ),
        (
            {"name": "gpt-5", "version": "2020-01-01"},
            "400 - LLM Module: Model gpt-5 in version 2020-01-01 not found.",
            "LLM Module",
        ),
    ],
)
def test_a_model_must_be_known(details: dict[str, Any], text: str, location: str) -> None:
    """By name and version; Responses-only models are not."""
    error = read(send(templated(details)))

    assert (text, location) == (error["message"], error["location"])


@pytest.mark.parametrize("document", [{"config_ref": {"id": "x"}}, templated({"name": "gpt-5"})])
def test_the_registry_is_empty(document: dict[str, Any]) -> None:
    """404 for every reference."""
    if "config" in document:
        prompt = document["config"]["modules"]["prompt_templating"]
        prompt["prompt"] = {"template_ref": {"scenario": "s", "name": "n", "version": "1"}}

    assert 404 == read(send(document))["code"]


# templates


@pytest.mark.parametrize(
    ("template", "given", "text"),
    [
        ("{{?x}} {{ ?y }}", {"x": "1"}, "Missing required parameters: ['y']"),
        ("a {{ this }} b", {}, "Missing required parameters: ['this']"),
        ("hello", {"x": "1", "y": "2"}, "Unused parameters: ['x', 'y']"),
    ],
)
def test_parameters_must_fit_the_template(template: str, given: dict[str, str], text: str) -> None:
    """The texts of wire §6.2."""
    error = ask(template, top={"placeholder_values": given})

    assert f"400 - Input Parameters: Error validating parameters. {text}" == error["message"]
    assert "Input Parameters" == error["location"]


@pytest.mark.parametrize("template", ["{% if %}", "{# note #}", "an open {{ brace"])
def test_every_sign_of_a_template_is_read(template: str) -> None:
    """Code in a prompt breaks the request."""
    assert "Templating Module" == ask(template)["location"]


def test_parameters_are_filled_in_and_have_defaults() -> None:
    """Values go before defaults, and what stands in them is not read again."""
    answer = ask(
        [{"type": "text", "text": "echo: {{?a}} {{?b}}"}],
        prompt={"defaults": {"a": "1", "b": "2"}},
        top={"placeholder_values": {"b": "{{?c}} {% x %}"}},
    )

    assert "1 {{?c}} {% x %}" == said(answer)
    assert "echo: 1 {{?c}} {% x %}" == (answer["intermediate_results"]["templating"][0]["content"][0]["text"])


def test_the_history_is_not_a_template() -> None:
    """It goes first, and its braces stay (wire §4.7)."""
    history = [{"role": "user", "content": "{{?x}} {% y"}, {"role": "assistant", "content": "{{ z }}"}]
    answer = ask(top={"messages_history": history})

    assert [*history, USER] == answer["intermediate_results"]["templating"]


def test_the_history_alone_is_enough() -> None:
    """Without a prompt."""
    document = body({"prompt_templating": {"model": {"name": "gpt-5"}}}, messages_history=[USER])

    assert "hello there" == said(read(send(document)))


# models


def test_an_answer_has_the_models_own_result_and_the_final_one() -> None:
    """In one shape (wire §4.7)."""
    answer = ask(model="gpt-5")
    final = answer["final_result"]

    assert {"request_id", "intermediate_results", "final_result"} == set(answer)
    assert final == answer["intermediate_results"]["llm"]
    assert ("gpt-5-2025-08-07", "chat.completion", "stop") == (
        final["model"],
        final["object"],
        final["choices"][0]["finish_reason"],
    )


@pytest.mark.parametrize(
    ("model", "params", "text"),
    [
        (
            "gpt-5",
            {"max_tokens": 5},
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
        ),
        ("gpt-5", {"strict": True}, "Unrecognized request argument supplied: strict"),
        (CLAUDE, {"seed": 1}, f"Unsupported parameter 'seed' for model '{CLAUDE}'."),
        (
            CLAUDE,
            {"thinking": {"type": "adaptive"}},
            "adaptive thinking is not supported on this model",
        ),
        (
            "anthropic--claude-4.8-opus",
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            "enabled thinking is not supported on this model",
        ),
        (
            "anthropic--claude-4.8-opus",
            {"temperature": 0.5},
            "`temperature` is deprecated for this model.",
        ),
        (CLAUDE, {"output_config": {"effort": "low"}}, "output_config: Extra inputs are not permitted"),
        (
            CLAUDE,
            {"thinking": {"type": "enabled", "budget_tokens": 10}},
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            "cohere--command-a-reasoning",
            {"n": 2},
            "Unsupported parameter 'n' for model 'cohere--command-a-reasoning'.",
        ),
        (
            "gpt-4.1",
            {"stream_options": {"include_usage": True}},
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        ),
    ],
)
def test_a_parameter_the_model_does_not_take_is_refused(
    model: str, params: dict[str, Any], text: str
) -> None:
    """400 from the LLM Module (wire §5.5)."""
    error = ask(model=model, params=params)

    assert (400, f"400 - LLM Module: {text}") == (error["code"], error["message"])


def test_tools_with_effort_are_refused_for_gpt_5_5() -> None:
    """There is no way to Responses from here (wire §5.1)."""
    error = ask(model="gpt-5.5", params={"reasoning_effort": "low"}, prompt={"tools": TOOLS})

    assert error["message"].endswith("Please use /v1/responses instead.")


@pytest.mark.parametrize("model", ["amazon--nova-pro", "cohere--command-a-reasoning"])
def test_some_providers_take_no_response_format(model: str) -> None:
    """Wire §5.3."""
    error = ask(model=model, prompt={"response_format": {"type": "json_object"}})

    assert (
        f"400 - LLM Module: Unsupported parameter 'response_format' for model '{model}'."
        == (error["message"])
    )


@pytest.mark.parametrize("role", ["system", "developer"])
def test_sap_abap_1_takes_no_system_prompt(role: str) -> None:
    """Wire §4.6; without one it answers."""
    history = [{"role": role, "content": "Be brief."}]
    error = ask(model="sap-abap-1", top={"messages_history": history})

    assert "400 - LLM Module: System prompts are not supported for model 'sap-abap-1'." == error["message"]
    assert "hello there" == said(ask(model="sap-abap-1"))


@pytest.mark.parametrize(
    ("model", "given"),
    [("gpt-4.1", '{"city":"simulated"}'), (CLAUDE, '```json\n{"city":"simulated"}\n```')],
)
def test_claude_puts_structured_answers_in_fences(model: str, given: str) -> None:
    """Wire §5.2; the others do not."""
    answer = ask(model=model, prompt={"response_format": SCHEMA})

    assert given == said(answer).replace('": "', '":"').replace("{\n", "{").replace('"\n}', '"}')


def test_gemini_has_no_id_and_always_calls() -> None:
    """`id: ""`, `tool_calls: []`, `citations: []`, usage without details (wire §4.7)."""
    final = ask(model="gemini-2.5-flash-lite")["final_result"]

    assert ("", [], []) == (final["id"], final["citations"], final["choices"][0]["message"]["tool_calls"])
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} == set(final["usage"])


def test_claudes_usage_is_additive() -> None:
    """What was written to the cache or read from it is not in `prompt_tokens` (wire §4.7)."""
    marked = {"type": "text", "text": "x" * 4000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    first = [{"role": "user", "content": [marked]}]
    again = [*first, {"role": "assistant", "content": "yes"}]
    written = ask(model=CLAUDE, top={"messages_history": first})["final_result"]["usage"]
    cached = ask(model=CLAUDE, top={"messages_history": again})["final_result"]["usage"]
    details = written["prompt_tokens_details"]

    assert written["prompt_tokens"] < 100 < 1000 <= details["cache_creation_tokens"]
    assert (
        details["cache_creation_tokens"]
        == (details["cache_creation_token_details"]["ephemeral_1h_input_tokens"])
    )
    assert details["cache_creation_tokens"] == cached["prompt_tokens_details"]["cached_tokens"]
    assert written["total_tokens"] == written["prompt_tokens"] + written["completion_tokens"]


@pytest.mark.parametrize(
    ("model", "params", "signed"),
    [
        (CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 4096}, True),
        (CLAUDE, {"reasoning_effort": "low"}, True),
        ("anthropic--claude-4.6-sonnet", {"thinking": {"type": "adaptive"}}, True),
        ("gemini-3.5-flash", {"thinkingConfig": {"thinkingBudget": -1}}, True),
        ("gemini-3.5-flash", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 5}}}, True),
        ("qwen3-max", {"reasoning_effort": "low"}, False),
    ],
)
def test_thoughts_come_in_blocks(model: str, params: dict[str, Any], signed: bool) -> None:
    """`reasoning_content` is a list; the providers that sign do (wire §5.5)."""
    (block,) = ask(model=model, params=params)["final_result"]["choices"][0]["message"]["reasoning_content"]

    assert (True, signed) == (bool(block["content"]), bool(block["signature"]))


@pytest.mark.parametrize("params", [{}, {"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}])
def test_thoughts_come_only_when_asked_for(params: dict[str, Any]) -> None:
    """Otherwise the member is not there."""
    answer = ask(model=CLAUDE, params=params)["final_result"]["choices"][0]["message"]

    assert "reasoning_content" not in answer


def test_claude_verifies_its_signatures() -> None:
    """Its own block comes back, a foreign one does not."""
    turn = ask(model=CLAUDE, params={"reasoning_effort": "low"})["final_result"]["choices"][0]["message"]
    foreign = turn | {"reasoning_content": [{"content": "mine", "signature": "x"}]}

    assert "hello there" == said(ask(model=CLAUDE, top={"messages_history": [turn]}))
    assert (
        "400 - LLM Module: messages.0.content.0: Invalid `signature` in `thinking` block"
        == (ask(model=CLAUDE, top={"messages_history": [foreign]})["message"])
    )


@pytest.mark.parametrize(
    ("model", "prefix"), [("gpt-4.1", "call_"), (CLAUDE, "toolu_bdrk_"), ("gemini-3.5-flash", "call_")]
)
def test_tools_are_called_and_their_results_end_the_loop(model: str, prefix: str) -> None:
    """The schemas go with the prompt; a result without its call is refused."""
    asked = {"role": "user", "content": "get_weather"}
    first = ask("get_weather", model, prompt={"tools": TOOLS})
    turn = first["final_result"]["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": turn["tool_calls"][0]["id"], "content": "rain"}
    configured = modules(model=model, prompt={"tools": TOOLS, "template": [result]})
    answer = read(send(body(configured, messages_history=[asked, turn])))
    orphan = read(send(body(configured)))

    assert prefix == turn["tool_calls"][0]["id"][: len(prefix)]
    assert "tool_calls" == first["final_result"]["choices"][0]["finish_reason"]
    assert "The tool answered: rain" == said(answer)
    assert "must be a response to a preceding message with 'tool_calls'" in orphan["message"]


@pytest.mark.parametrize(("model", "status"), [("gpt-4.1", 400), (CLAUDE, 200)])
def test_gpt_takes_no_files(model: str, status: int) -> None:
    """Wire §5.1."""
    part = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a"}}
    answer = send(body(modules([part, {"type": "text", "text": "hi"}], model)))

    assert isinstance(answer, Reply)
    assert status == answer.status


def test_several_choices_are_given() -> None:
    """`n`."""
    assert 2 == len(ask(params={"n": 2})["final_result"]["choices"])


# falling back


def fall_back(*hows: str, stream: bool = False) -> Reply | EventStream:
    """The answer to a list of which each model fails as told; `ok` is one that does not."""
    models = ["gpt-5", "gpt-4.1", "gpt-5-mini"]
    wish = " ".join(f"[[fail:{m}:{how}]]" for m, how in zip(models, hows, strict=False) if how != "ok")
    listed = [modules(f"echo: yes {wish}", m) for m in models[: len(hows)]]
    return send(body(listed, stream=stream))


@pytest.mark.parametrize("how", ["408", "429", "500", "503", "region"])
def test_the_next_configuration_is_tried(how: str) -> None:
    """And the failure told (wire §4.7)."""
    answer = read(fall_back(how, "ok"))
    (failure,) = answer["intermediate_failures"]

    assert "gpt-4.1-2025-04-14" == answer["final_result"]["model"]
    assert {"408": 408, "429": 429, "500": 500, "503": 503, "region": 400}[how] == failure["code"]


def test_a_stream_falls_back_only_for_the_region() -> None:
    """Everything else is an error at once."""
    assert isinstance(fall_back("region", "ok", stream=True), EventStream)
    refused = fall_back("429", "ok", stream=True)

    assert isinstance(refused, Reply)
    assert [429] == [error["code"] for error in json.loads(refused.body)["error"]]


def test_if_all_fail_there_is_a_list_of_errors() -> None:
    """With the status of the last."""
    refused = fall_back("429", "503")

    assert isinstance(refused, Reply)
    assert 503 == refused.status
    assert [("LLM", 429), ("LLM Module", 503)] == [
        (error["location"], error["code"]) for error in json.loads(refused.body)["error"]
    ]


def test_a_mistake_does_not_fall_back() -> None:
    """400 is the caller's own."""
    refused = send(body([modules("{{?x}}"), modules()]))

    assert isinstance(refused, Reply)
    assert 400 == refused.status


# streams


def test_a_stream_opens_with_the_template_and_ends_with_the_usage() -> None:
    """Empty id, `finish_reason: ""`, `content` in every delta, `[DONE]` (wire §4.7)."""
    params = {"stream_options": {"include_usage": True}}
    first, *rest, done = streamed(body(modules(params=params), stream=True))
    choices = [frame["final_result"]["choices"][0] for frame in rest]

    assert ([USER], "") == (first["intermediate_results"]["templating"], first["final_result"]["id"])
    assert {"role": "", "content": ""} == first["final_result"]["choices"][0]["delta"]
    assert [("hello", ""), (" there", "stop")] == [
        (c["delta"]["content"], c["finish_reason"]) for c in choices
    ]
    assert [False, True] == ["usage" in frame["final_result"] for frame in rest]
    assert all(frame["intermediate_results"]["llm"] == frame["final_result"] for frame in rest)
    assert "[DONE]" == done


def test_usage_is_streamed_only_when_asked_for() -> None:
    """`params.stream_options.include_usage`."""
    seen = streamed(body(modules(), stream=True))

    assert not any("usage" in frame["final_result"] for frame in seen[:-1])


def test_thoughts_stream_with_their_signature_last() -> None:
    """A chunk of its own, with empty content."""
    seen = streamed(body(modules(model=CLAUDE, params={"reasoning_effort": "low"}), stream=True))
    deltas = [frame["final_result"]["choices"][0]["delta"] for frame in seen[:-1]]
    blocks = [block for delta in deltas for block in delta.get("reasoning_content", ())]
    *thoughts, signature = blocks

    assert {""} == {block["signature"] for block in thoughts}
    assert ("", True) == (signature["content"], bool(signature["signature"]))
    assert all("content" in delta for delta in deltas)


def test_calls_stream_in_pieces() -> None:
    """The first has id and name; none has a finish reason."""
    seen = streamed(body(modules("get_weather", prompt={"tools": TOOLS}), stream=True))
    choices = [frame["final_result"]["choices"][0] for frame in seen[1:-1]]
    *calls, last = choices
    pieces = [choice["delta"]["tool_calls"][0]["function"]["arguments"] for choice in calls]

    assert "get_weather" == calls[0]["delta"]["tool_calls"][0]["function"]["name"]
    assert {"city": "simulated"} == json.loads("".join(pieces))
    assert not any("finish_reason" in choice for choice in calls)
    assert ("tool_calls", "") == (last["finish_reason"], last["delta"]["content"])


def test_some_models_do_not_stream() -> None:
    """gpt-5.5 is not on the list yet (wire §4.7)."""
    error = read(send(body(modules(model="gpt-5.5"), stream=True)))

    assert "400 - LLM Module: Streaming is not supported for this model." == error["message"]


def test_silence_is_kept_before_each_piece() -> None:
    """The pace of the simulator, in seconds."""
    answer = send(body(modules(), stream=True), chunk_interval_ms=20)
    assert isinstance(answer, EventStream)

    assert [0.02, 0.02] == [step for step in answer.frames if isinstance(step, float)]


# over the network


def post(tenant: Tenant, document: Any, path: str = "v2/completion", fault: str = "") -> httpx.Response:
    """To the orchestration deployment of a tenant."""
    listed = tenant.get("/v2/lm/deployments", scenarioId="orchestration").json()["resources"]
    headers = {"x-sim-fault": fault} if fault else {}
    url: str = listed[0]["deploymentUrl"]
    return tenant.client.post(f"{url}/{path}", json=document, headers=headers)


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_every_tenant_has_one_that_runs(sim: Simulator, name: str) -> None:
    """And it answers."""
    with Tenant(sim, name) as tenant:
        assert "hello there" == said(post(tenant, body(modules())).json())


def test_version_1_is_gone(alpha: Tenant) -> None:
    """The sub-path is not allowed any more."""
    answer = post(alpha, {"orchestration_config": {}}, "completion")

    assert (403, "Subpath not allowed") == (answer.status_code, answer.json()["error"]["message"])


@pytest.mark.parametrize(
    ("fault", "status", "message", "location"),
    [
        ("429:7", 429, "429 - Too many requests.", "LLM"),
        (
            "content-filter",
            400,
            "400 - Filtering Module - Input Filter: Prompt filtered due to safety violations. "
            "Please modify the prompt and try again.",
            "Filtering Module - Input Filter",
        ),
        ("408", 408, "408 - LLM Module: The model did not answer in time.", "LLM Module"),
    ],
)
def test_faults_come_in_this_shape(
    alpha: Tenant, fault: str, status: int, message: str, location: str
) -> None:
    """The texts of wire §6.2 and §6.3."""
    answer = post(alpha, body(modules()), fault=fault)
    error = answer.json()["error"]

    assert (status, message, location) == (answer.status_code, error["message"], error["location"])
    assert ({"x-retry-after": "7"} if status == 429 else None) == error.get("headers")


@pytest.mark.parametrize(("fault", "before"), [("error-first", 1), ("error-frame:1", 2), ("throttled", 1)])
def test_an_error_ends_a_stream_without_done(alpha: Tenant, fault: str, before: int) -> None:
    """After the template, or after content (wire §4.7)."""
    seen = frames(post(alpha, body(modules(), stream=True), fault=fault).text)

    assert before + 1 == len(seen)
    assert (429, "LLM") == (seen[-1]["error"]["code"], seen[-1]["error"]["location"])


@pytest.mark.parametrize(
    "document",
    [
        body(modules("[[fault:503]]")),
        body(modules("{{?x}}"), placeholder_values={"x": "[[fault:503]]"}),
        body(
            [{"prompt_templating": {"model": {"name": "gpt-5"}}}],
            messages_history=[{"role": "user", "content": "[[fault:503]]"}],
        ),
    ],
)
def test_a_fault_is_asked_for_in_the_last_message(alpha: Tenant, document: dict[str, Any]) -> None:
    """Of the template, in a parameter, or of the history."""
    assert 503 == post(alpha, document).status_code


# embeddings


def embedding(
    text: Any = "a", name: str = "text-embedding-3-small", params: Any = None, **given: Any
) -> dict[str, Any]:
    """A request for vectors."""
    model = {"name": name, **({"params": params} if params else {})}
    config = {"modules": {"embeddings": {"model": model}}}
    return {"config": config, "input": {"text": text, **given}}


def test_vectors_come_in_the_final_result(alpha: Tenant) -> None:
    """OpenAI's list inside the envelope (wire §4.8)."""
    answer = post(alpha, embedding(["a", "b"], params={"dimensions": 8}, type="text"), "v2/embeddings").json()

    assert {"request_id", "final_result"} == set(answer)
    assert [8, 8] == [len(item["embedding"]) for item in answer["final_result"]["data"]]


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (embedding(name="gpt-5"), "400 - Embedding Module: Model name must be one of dict_keys(["),
        (
            embedding(params={"encoding": 1}),
            "Additional properties are not allowed ('encoding' was unexpected)",
        ),
        (embedding(kind="text"), "Additional properties are not allowed ('kind' was unexpected) - 'input'"),
        ({"input": {"text": "a"}}, "'config' is a required property"),
        (embedding(""), "400 - Embedding Module: Invalid 'input[0]': input cannot be an empty string."),
    ],
)
def test_embeddings_are_checked(alpha: Tenant, document: dict[str, Any], text: str) -> None:
    """In the same strict way."""
    answer = post(alpha, document, "v2/embeddings")

    assert (400, text) == (answer.status_code, answer.json()["error"]["message"][: len(text)])
