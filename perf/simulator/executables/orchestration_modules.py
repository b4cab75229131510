"""The modules around the model: grounding, translation, masking, filtering (wire §4.7, §6.3).

What they do is simple and visible. Translation appends the target language; masking knows addresses of
e-mail, two capitalised words as a person, and expressions; a filter believes `[[hate:4]]` in a text, for any
of its categories.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from perf.simulator.executables.orchestration_body import (
    AzureFilter,
    AzureThresholds,
    Entity,
    Filters,
    Grounding,
    Masking,
    MaskingProvider,
    Translator,
)
from perf.simulator.executables.orchestration_errors import INPUT, MASKING, fails, filtered
from perf.simulator.executables.orchestration_messages import (
    FilePart,
    Message,
    mapped,
    texts,
)

Result = dict[str, Any]


def _result(message: str, **data: Any) -> Result:
    return {"message": message, "data": data}


# grounding


def ground(grounding: Grounding, values: Mapping[str, str]) -> tuple[Result, dict[str, str]]:
    """What was found, and the parameter that carries it. Raises Failure if the question has no value."""
    wanted = grounding.config.placeholders
    missing = [name for name in wanted.input if name not in values]
    if missing:
        raise fails(INPUT, f"Error validating parameters. Missing required parameters: {missing}")
    question = " ".join(values[name] for name in wanted.input)
    found = f"A document about: {question}"
    result = _result("grounding result", grounding_query=question, grounding_result=found)
    return result, {wanted.output: found}


# translation


def translate_input(translator: Translator, messages: list[Message]) -> tuple[Result, list[Message]]:
    """The last message in another language."""
    translated = [*messages[:-1], *mapped(messages[-1:], _into(translator))]
    shown = msgspec.json.encode(translated).decode()
    return _result("Input translation is successful.", translated_template=shown), translated


def _into(translator: Translator) -> Callable[[str], str]:
    return lambda text: f"{text} [{translator.config.target_language}]"


def translate_output(translator: Translator, tokens: tuple[str, ...]) -> tuple[str, ...]:
    """The answer in another language."""
    return (*tokens, f" [{translator.config.target_language}]")


# masking

_PATTERNS = {
    "profile-email": (re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+\w"), "EMAIL", "fabricated-{}@example.org"),
    "profile-person": (re.compile(r"\b[A-Z][a-z]+ [A-Z][a-z]+\b"), "PERSON", "Fabricated_{}"),
}


class Masks:
    """Replaces entities, and puts them back if the method allows it."""

    def __init__(self, provider: MaskingProvider) -> None:
        self._provider = provider
        self._allowed = frozenset(provider.allowlist or ())
        self._names: dict[str, str] = {}

    def mask(self, messages: list[Message]) -> tuple[Result, list[Message]]:
        """Raises Failure for files when nobody said what becomes of them."""
        self._refuse_files(messages)
        for entity in self._provider.entities:
            messages = mapped(messages, self._replacer(entity))
        shown = msgspec.json.encode(messages).decode()
        return _result("Input to LLM is masked successfully.", masked_template=shown), messages

    def _refuse_files(self, messages: list[Message]) -> None:
        parts = [part for m in messages if isinstance(m.content, list) for part in m.content]
        if (
            any(isinstance(part, FilePart) for part in parts)
            and self._provider.mask_file_input_method is UNSET
        ):
            raise fails(MASKING, "mask_file_input_method must be set when files are sent.")

    def _replacer(self, entity: Entity) -> Callable[[str], str]:
        if isinstance(entity.regex, str):
            pattern, label, fabricated = re.compile(entity.regex), "CUSTOM", "Fabricated_{}"
        elif entity.type in _PATTERNS:
            pattern, label, fabricated = _PATTERNS[str(entity.type)]
        else:
            return lambda text: text
        strategy = entity.replacement_strategy
        if strategy is not UNSET:
            form = fabricated if strategy.method == "fabricated_data" else f"{strategy.value}_{{}}"
        else:
            form = f"MASKED_{label}_{{}}"
        return lambda text: pattern.sub(lambda found: self._name(found[0], form), text)

    def _name(self, original: str, form: str) -> str:
        if original in self._allowed or original in self._names.values():
            return original
        if self._provider.method == "anonymization":
            return form.removesuffix("_{}").format("x")
        taken = sum(name.startswith(form.partition("{}")[0]) for name in self._names.values())
        return self._names.setdefault(original, form.format(taken + 1))

    def unmask(self, text: str) -> str:
        """The text with its entities again; names of ten and more before those they begin with."""
        for original, name in reversed(self._names.items()):
            text = text.replace(name, original)
        return text


def masks(masking: Masking | Any) -> Masks | None:
    """The masks of a module, if it is configured."""
    provider = masking.provider if isinstance(masking, Masking) else None
    return Masks(provider) if provider else None


# filtering

_SCORE = re.compile(r"\[\[(\w+):([0246])\]\]")
_CATEGORIES = ("hate", "self_harm", "sexual", "violence")
_DEFAULT_THRESHOLD = 2


def filter_input(filters: Filters, messages: list[Message], results: Mapping[str, Any]) -> Result:
    """Raises Failure for a prompt that does not pass."""
    scores, blocked = _verdict(filters, "\n".join(part for m in messages for part in texts(m)))
    if blocked:
        told = _result("Prompt filtered due to safety violations.", **scores)
        raise filtered({**results, "input_filtering": told})
    return _result("Input filter passed successfully.", **scores)


def filter_output(filters: Filters, text: str) -> tuple[Result, bool]:
    """The verdict on an answer: what is told of it, and whether it is kept back."""
    scores, blocked = _verdict(filters, text)
    message = (
        "400 - Filtering Module - Output Filter: Content filtered due to safety violations. "
        "Please modify the prompt and try again."
        if blocked
        else "Output filter passed successfully."
    )
    return _result(message, **scores), blocked


def _verdict(filters: Filters, text: str) -> tuple[dict[str, Any], bool]:
    found = {name: int(score) for name, score in _SCORE.findall(text)}
    scores: dict[str, Any] = {}
    blocked = False
    for one in filters:
        if isinstance(one, AzureFilter):
            limits = one.config if isinstance(one.config, AzureThresholds) else AzureThresholds()
            scores["azure_content_safety"] = {name: found.get(name, 0) for name in _CATEGORIES}
            blocked |= any(
                found.get(name, 0) > (_DEFAULT_THRESHOLD if limit is UNSET else limit)
                for name, limit in ((name, getattr(limits, name)) for name in _CATEGORIES)
            )
        else:
            scores["llama_guard_3_8b"] = {name: name in found for name in one.config}
            blocked |= any(wanted and name in found for name, wanted in one.config.items())
    return scores, blocked
