"""orchestration: SAP's own envelope, through which one deployment reaches every model (wire §4.7, §4.8).

A failure of a model can be asked for in the last message: `[[fail:MODEL:408]]` with 408, 429 or a 5xx, and
`[[fail:MODEL:region]]` for a model that is not there in this region.

Choices where the wire document is unsure (u): nothing is in the prompt registry, so that every reference is
404; streaming is refused after the model was found; v1's `completion` is no sub-path any more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from perf.simulator.answers import EventStream, Reply, Step, reply_json
from perf.simulator.executables import orchestration_embeddings, orchestration_modules
from perf.simulator.executables.base import Call, Executable
from perf.simulator.executables.orchestration_answer import OPENING_FRAMES, Answer, Finished
from perf.simulator.executables.orchestration_body import (
    CompletionRequest,
    Config,
    Modules,
    Prompt,
    decode,
)
from perf.simulator.executables.orchestration_errors import (
    BODY,
    LLM,
    NO_REGION,
    TEMPLATING,
    Failure,
    fails,
    refusal,
    shape,
    throttled,
)
from perf.simulator.executables.orchestration_messages import Message, texts
from perf.simulator.executables.orchestration_models import Reasoned, find, reason
from perf.simulator.executables.orchestration_template import Template
from perf.simulator.models import Model

_DECODER = msgspec.json.Decoder(CompletionRequest)
_FAIL = re.compile(r"\[\[fail:([\w.-]+):(\d{3}|region)\]\]")


def complete(call: Call) -> Reply | EventStream:
    """`POST v2/completion`."""
    try:
        request = decode(_DECODER, call.body)
        config = _config(request)
    except Failure as failure:
        return refusal([failure], listed=False)
    listed = isinstance(config.modules, list)
    options = config.modules if isinstance(config.modules, list) else [config.modules]
    failures: list[Failure] = []
    for modules in options:
        try:
            answer = _Run(call, request, config, modules).answer()
        except Failure as failure:
            failures.append(failure)
            if not failure.switches(stream=config.stream.enabled):
                break
        else:
            return _played(call, config, answer, failures)
    return refusal(failures, listed=listed)


def _config(request: CompletionRequest) -> Config:
    if request.config_ref:
        raise fails(BODY, "The orchestration configuration was not found.", 404)
    if not request.config:
        raise Failure("'config' is a required property", BODY)
    return request.config


def _played(call: Call, config: Config, answer: Answer, failures: list[Failure]) -> Reply | EventStream:
    if not config.stream.enabled:
        return reply_json(answer.whole([failure.error for failure in failures]))
    return EventStream(_paced(call, answer), opening=OPENING_FRAMES)


def _paced(call: Call, answer: Answer) -> Iterator[Step]:
    yield answer.opening()
    for frame in answer.content(call.pace.chunk_size):
        if call.interval:
            yield call.interval
        yield frame


class _Run:
    """One module configuration, from the template to the answer. Every step may raise Failure."""

    def __init__(self, call: Call, request: CompletionRequest, config: Config, modules: Modules) -> None:
        self._call = call
        self._request = request
        self._stream = config.stream
        self._modules = modules
        self._results: dict[str, Any] = {}
        self._masks = orchestration_modules.masks(modules.masking)

    def answer(self) -> Answer:
        """Run the modules one after the other."""
        details = self._modules.prompt_templating.model
        model = find(details)
        if self._stream.enabled and not (model.streaming and model.orchestration_streams):
            raise fails(LLM, "Streaming is not supported for this model.")
        prompt = self._modules.prompt_templating.prompt or Prompt()
        messages = self._protected(self._translated(self._templated(prompt)))
        self._fail_as_asked(model, messages)
        reasoned = reason(
            model,
            messages,
            prompt,
            details.params or {},
            stream=self._stream.enabled,
            answer_tokens=self._call.pace.answer_tokens,
        )
        return Answer(model, reasoned, self._results, self._finished(reasoned))

    def _templated(self, prompt: Prompt) -> list[Message]:
        if prompt.template_ref:
            raise fails(TEMPLATING, "The prompt template was not found.", 404)
        history = self._request.messages_history
        if not prompt.template and not history:
            raise Failure("Either a prompt template or messages must be defined", BODY)
        given = self._request.placeholder_values
        values = {name: str(value) for name, value in (prompt.defaults or {}).items()} | given
        used: list[str] = []
        if self._modules.grounding:
            self._results["grounding"], found = orchestration_modules.ground(self._modules.grounding, values)
            used = self._modules.grounding.config.placeholders.input
            values |= found
        template = Template(values)
        messages = [*history, *template.filled(prompt.template or [])]
        template.refuse_unused(given, used)
        self._results["templating"] = messages
        return messages

    def _translated(self, messages: list[Message]) -> list[Message]:
        translation = self._modules.translation
        if translation and translation.input:
            told, messages = orchestration_modules.translate_input(translation.input, messages)
            self._results["input_translation"] = told
        return messages

    def _protected(self, messages: list[Message]) -> list[Message]:
        if self._masks is not None:
            self._results["input_masking"], messages = self._masks.mask(messages)
        filtering = self._modules.filtering
        if filtering and filtering.input:
            self._results["input_filtering"] = orchestration_modules.filter_input(
                filtering.input.filters, messages, self._results
            )
        return messages

    def _fail_as_asked(self, model: Model, messages: list[Message]) -> None:
        for name, how in _FAIL.findall("\n".join(texts(messages[-1]))):
            if name != model.name:
                continue
            if how == "region":
                raise fails(LLM, f"Model {name} {NO_REGION}")
            raise throttled() if how == "429" else fails(LLM, f"Model {name} did not answer.", int(how))

    def _finished(self, reasoned: Reasoned) -> Finished:
        """The modules behind the model; each of them makes the pieces of a stream larger."""
        tokens = reasoned.plan.tokens
        results: dict[str, Any] = {}
        blocked = False
        if self._modules.filtering and self._modules.filtering.output:
            filters = self._modules.filtering.output.filters
            told, blocked = orchestration_modules.filter_output(filters, "".join(tokens))
            results["output_filtering"] = told
            tokens = () if blocked else tokens
        if self._masks is not None:
            tokens = tuple(map(self._masks.unmask, tokens))
        if self._modules.translation and self._modules.translation.output and not reasoned.plan.calls:
            tokens = orchestration_modules.translate_output(self._modules.translation.output, tokens)
            results["output_translation"] = {"message": "Output translation is successful.", "data": {}}
        unmasked = self._masks is not None
        least = self._stream.chunk_size if results or unmasked else 0
        return Finished(tokens, results, blocked, unmasked, least)


EXECUTABLE = Executable(
    "orchestration",
    routes={"v2/completion": complete, "v2/embeddings": orchestration_embeddings.embed},
    error_shape=shape,
)
