"""SAP's orchestration v2: one envelope around every model (wire §4.7, §8.5).

The conversation goes up as `messages_history`, which no template engine reads. Tools, an answer's format and
grounding need a template: then the last message is one, made of placeholders alone, and its texts are their
values. So braces in a caller's text mean nothing anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.errors import BadRequest, UpstreamError
from services.translation.conversation import Conversation, Text
from services.translation.dialects import Sent, Upstream
from services.translation.fields import Json
from services.translation.replies import Target
from services.translation.turns import check_inputs
from services.translation.upstreams.orchestration_modules import Around, around
from services.translation.upstreams.orchestration_params import Backend, backend, fallback, parameters
from services.translation.upstreams.orchestration_prompt import Prompt, prompt
from services.translation.upstreams.orchestration_reader import OrchestrationReader, answer

PATH = "/v2/completion"
TIMEOUT_SECONDS = 600
"""For the model's answer. The platform cuts connections that are idle for longer (wire §4.7)."""

_NO_STREAM = "streaming is not supported"
_VALUE = "gateway_text_{}"


def request(conversation: Conversation, target: Target) -> Sent:
    """Return the request. Raises BadRequest for what orchestration, or the model, cannot be told.

    Some models do not stream behind orchestration, known ones and others: those answer whole.
    """
    if conversation.stream and "no-stream" in target.facts.flags:
        return _whole(conversation, target)
    sent = _sent(conversation, target)
    if not conversation.stream:
        return sent

    def without_stream(error: UpstreamError) -> Sent | None:
        return _whole(conversation, target) if _NO_STREAM in str(error).lower() else None

    return msgspec.structs.replace(sent, amend=without_stream)


def _whole(conversation: Conversation, target: Target) -> Sent:
    sent = _sent(msgspec.structs.replace(conversation, stream=False), target)
    return msgspec.structs.replace(sent, whole=True)


def _sent(conversation: Conversation, target: Target) -> Sent:
    check_inputs(conversation, target.facts)
    wanted = around(conversation.orchestration, target.modules)
    models = [
        backend(target.backend_model, target.version, target.facts),
        *(fallback(name) for name in wanted.fallbacks),
    ]
    for other in models[1:]:
        check_inputs(conversation, other.facts)
    told = prompt(conversation, models[0])
    body, dropped = _body(conversation, wanted, models, told)
    return Sent(PATH, msgspec.json.encode(body), tuple(dict.fromkeys((*told.dropped, *dropped))))


def _body(
    conversation: Conversation, wanted: Around, models: Sequence[Backend], told: Prompt
) -> tuple[Json, list[str]]:
    held = _Template(conversation, wanted, told)
    dropped: list[str] = []
    configurations: list[Json] = []
    for model in models:
        params, unsaid = parameters(conversation, model)
        dropped += unsaid
        configurations.append(
            {"prompt_templating": held.prompt | {"model": _model(model, params)}, **wanted.modules}
        )
    config: Json = {"modules": configurations if len(models) > 1 else configurations[0]}
    if conversation.stream:
        config["stream"] = {"enabled": True, **wanted.stream}
    body: Json = {"config": config}
    if wanted.config_ref is not None:
        body["config_ref"] = wanted.config_ref
    if held.values:
        body["placeholder_values"] = held.values
    if held.history:
        body["messages_history"] = held.history
    return body, dropped


def _model(model: Backend, params: Mapping[str, Any]) -> Json:
    return {
        "name": model.name,
        "version": model.version,
        "params": params,
        "timeout": TIMEOUT_SECONDS,
        "max_retries": 0,  # the gateway retries by itself (wire §6.2)
    }


# --- the template ------------------------------------------------------------------------------------


class _Places(msgspec.Struct):
    input: list[str]
    output: str


class _GroundingConfig(msgspec.Struct):
    placeholders: _Places


class _Grounding(msgspec.Struct):
    config: _GroundingConfig


class _Template:
    """What stands in the history, and what in the template with which values."""

    def __init__(self, conversation: Conversation, wanted: Around, told: Prompt) -> None:
        self._conversation = conversation
        self.values: dict[str, str] = dict(wanted.placeholder_values)
        self.history = told.messages
        self.prompt: Json = {}
        self._found = self._grounded(wanted.modules.get("grounding"))
        members = {"tools": told.tools, "response_format": told.response_format}
        members = {name: value for name, value in members.items() if value}
        if wanted.template_ref is not None:
            self._check_reference(members)
            self.prompt = {"prompt": {"template_ref": wanted.template_ref}}
        elif members or self._found:
            *self.history, last = told.messages
            self.prompt = {"prompt": {"template": [self._held(last)], **members}}

    def _grounded(self, module: Any) -> str:
        """Return the placeholder for what grounding finds; its question is what the user said last."""
        if module is None:
            return ""
        try:
            places = msgspec.convert(module, _Grounding).config.placeholders
        except msgspec.ValidationError as exc:
            raise BadRequest(
                f"'orchestration.grounding' cannot be read: {exc}", param="orchestration.grounding"
            ) from exc
        for name in places.input:
            self.values.setdefault(name, _question(self._conversation))
        return places.output

    def _check_reference(self, members: Json) -> None:
        for name in members:
            own = self._conversation.name_of(name)
            raise BadRequest(f"'{own}' and 'orchestration.template_ref' exclude each other", param=own)

    def _held(self, message: Json) -> Json:
        """Return the message with placeholders for its texts."""
        if message["role"] == "assistant":
            raise BadRequest(
                "with tools or a response format, the last message has to be the user's or a tool's",
                param=self._conversation.name_of("messages"),
            )
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        parts = [self._placed(part) for part in content]
        if self._found:
            parts.append({"type": "text", "text": f"{{{{?{self._found}}}}}"})
        plain = len(parts) == 1 and parts[0].keys() == {"type", "text"}
        return message | {"content": parts[0]["text"] if plain else parts}

    def _placed(self, part: Json) -> Json:
        if part["type"] != "text":
            self._check_data(part)
            return part
        name = _VALUE.format(len(self.values))
        if name in self.values:
            param = f"orchestration.placeholder_values.{name}"
            raise BadRequest(f"'{param}' has a name that the gateway uses", param=param)
        self.values[name] = part["text"]
        return part | {"text": f"{{{{?{name}}}}}"}

    def _check_data(self, part: Json) -> None:
        """Raise BadRequest for data that are no base64, and might mean something in a template."""
        url = part["image_url"]["url"] if part["type"] == "image_url" else part["file"]["file_data"]
        if "{" in url:
            raise BadRequest(
                "pictures and documents have to be base64-encoded",
                param=self._conversation.name_of("messages"),
            )


def _question(conversation: Conversation) -> str:
    """Return what the user said last in words."""
    for turn in reversed(conversation.turns):
        texts = [block.text for block in turn.blocks if isinstance(block, Text)]
        if turn.role == "user" and texts:
            return "\n".join(texts)
    return ""


UPSTREAM = Upstream(request=request, answer=answer, reader=OrchestrationReader)
