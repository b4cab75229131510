"""What holds for requests of every kind of caller to a model family: no single module can prove it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from services.errors import UpstreamRefused
from services.translation import fields
from services.translation.callers import CALLERS
from services.translation.capabilities import facts_for
from services.translation.replies import Prepared
from services.translation.translate import prepare
from tests.services.translation.samples import target
from tests.traps.wire import BODIES, STREAMS, asked

CLAUDE = "anthropic--claude-4.6-sonnet"
NOVA = "amazon--nova-pro"
GEMINI = "gemini-3.5-flash"


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
@pytest.mark.parametrize("surface", CALLERS)
def test_trap_25_the_path_decides_about_streaming_for_bedrock(surface: str, model: str) -> None:
    """Traps 25, 26: neither `model` nor `stream` is in the body, whatever the caller wrote there."""
    request = asked(surface, model, stream=True)

    assert "stream" in request.path
    assert not {"model", "stream"} & json.loads(request.body).keys()
    assert "stream" not in asked(surface, model).path


@pytest.mark.parametrize("surface", CALLERS)
def test_trap_26_invoke_gets_its_version_and_a_limit(surface: str) -> None:
    """Trap 26: both are mandatory there, also where the caller's dialect knows neither."""
    body = json.loads(asked(surface, CLAUDE).body)

    assert "bedrock-2023-05-31" == body["anthropic_version"]
    assert 0 < body["max_tokens"] <= 128_000


@pytest.mark.parametrize("surface", CALLERS)
def test_trap_46_no_safety_settings_are_forced(surface: str) -> None:
    """Trap 46: a caller who says nothing of them gets the model's own."""
    assert "safetySettings" not in json.loads(asked(surface, GEMINI).body)


def test_trap_46_the_callers_own_safety_settings_go_up() -> None:
    """Trap 46: as they were said."""
    wanted = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]

    assert wanted == json.loads(asked("gemini", GEMINI, safetySettings=wanted).body)["safetySettings"]


@pytest.mark.parametrize("model", STREAMS)
@pytest.mark.parametrize("surface", CALLERS)
def test_trap_55_a_request_can_be_made_again(surface: str, model: str) -> None:
    """Trap 55: a further attempt gets the same bytes."""
    assert asked(surface, model).body == asked(surface, model).body


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(("model", "path"), [("gpt-5.5", "/responses"), ("gpt-5", "/chat/completions")])
def test_trap_37_effort_is_kept_beside_tools(model: str, path: str) -> None:
    """Trap 37: a model that takes both only through Responses is asked there."""
    request = asked("chat", model, tools=[TOOL], reasoning_effort="high")
    body = json.loads(request.body)

    assert path == request.path.partition("?")[0]
    assert "high" == (body.get("reasoning") or {"effort": body.get("reasoning_effort")})["effort"]
    assert ("f", ()) == (body["tools"][0].get("name", "f"), request.dropped)


@pytest.mark.parametrize("extra", [{}, {"tools": [TOOL]}])
@pytest.mark.parametrize("text", ["{{?city}}", "{{ a }}", "{% b %}", "{# c #}"])
def test_trap_61_a_callers_text_is_never_a_template(text: str, extra: dict[str, Any]) -> None:
    """Trap 61: orchestration reads it in the history, or as a value; its template holds placeholders only."""
    message = {"role": "user", "content": text}
    request = orchestrated(messages=[{"role": "system", "content": text}, message], **extra)
    body = json.loads(request.body)
    module = body["config"]["modules"]["prompt_templating"]

    assert text not in json.dumps(module)
    assert text in json.dumps([body.get("messages_history"), body.get("placeholder_values")])
    assert all(one["content"].startswith("{{?gateway_text_") for one in _template(module))


def _template(module: Mapping[str, Any]) -> list[Any]:
    return list(module.get("prompt", {}).get("template", ()))


def test_trap_61_the_stream_flag_is_in_the_configuration() -> None:
    """Trap 61: a model that does not stream behind orchestration is asked again for a whole answer."""
    request = orchestrated(stream=True)
    assert request.amend is not None
    again = request.amend(UpstreamRefused("400: Streaming is not supported for this model."))

    assert json.loads(request.body)["config"]["stream"]["enabled"] is True
    assert again is not None
    assert "stream" not in json.loads(again.body)["config"]
    assert again.relay is not None
    assert request.amend(UpstreamRefused("400: another reason")) is None


def orchestrated(*, stream: bool = False, **members: Any) -> Prepared:
    body = fields.parse(json.dumps(BODIES["chat"] | {"stream": stream} | members).encode())
    behind = target("gpt-4.1", facts=facts_for("gpt-4.1", "orchestration"))
    return prepare(body, behind, surface="chat", stream=stream)
