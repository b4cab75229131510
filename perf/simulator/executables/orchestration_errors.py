"""Failures of orchestration: which module, what it says, what was done before (wire §6.1, §6.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perf.simulator.answers import Reply, reply_json
from perf.simulator.errors import Problem, new_uuid

BODY = "request body"
INPUT = "Input Parameters"
LLM = "LLM Module"
TEMPLATING = "Templating Module"
MASKING = "Masking Module - Masking"
INPUT_FILTER = "Filtering Module - Input Filter"
EMBEDDING = "Embedding Module"

NO_REGION = "is not supported in this region."
"""With this ending a fallback is tried even for a stream (wire §4.7)."""


class Failure(Exception):
    """A module gives up."""

    def __init__(
        self,
        message: str,
        location: str,
        code: int = 400,
        *,
        results: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.error: dict[str, Any] = {
            "request_id": new_uuid(),
            "code": code,
            "message": message,
            "location": location,
        }
        if results is not None:
            self.error["intermediate_results"] = results
        if headers is not None:
            self.error["headers"] = headers

    def switches(self, *, stream: bool) -> bool:
        """Whether the next module configuration of a fallback list is tried (wire §4.7)."""
        if self.error["message"].endswith(NO_REGION):
            return True
        return not stream and (self.code in (408, 429) or self.code >= 500)


def fails(location: str, text: str, code: int = 400) -> Failure:
    """A failure in the usual wording."""
    return Failure(f"{code} - {location}: {text}", location, code)


def filtered(results: dict[str, Any]) -> Failure:
    """The prompt is filtered (wire §6.3)."""
    return Failure(
        f"400 - {INPUT_FILTER}: Prompt filtered due to safety violations. "
        "Please modify the prompt and try again.",
        INPUT_FILTER,
        results=results,
    )


def throttled(retry_after: int | None = None) -> Failure:
    """Too many requests for a model."""
    headers = None if retry_after is None else {"x-retry-after": str(retry_after)}
    return Failure("429 - Too many requests.", "LLM", 429, headers=headers)


def shape(problem: Problem) -> dict[str, Any]:
    """A problem that the router or a fault raises, as orchestration tells it."""
    if problem.code == "content_filter":
        failure = filtered(
            {"input_filtering": {"message": "Prompt filtered.", "data": {"azure_content_safety": {}}}}
        )
    elif problem.status == 429:
        failure = throttled(problem.retry_after)
    else:
        failure = fails(LLM, problem.message, problem.status)
    return {"error": failure.error}


def refusal(failures: Sequence[Failure], *, listed: bool) -> Reply:
    """The answer when nothing worked; a fallback list fails with a list, and the status of the last."""
    errors = [failure.error for failure in failures]
    return reply_json({"error": errors if listed else errors[-1]}, status=failures[-1].code)
