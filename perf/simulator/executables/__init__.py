"""Kinds of deployment, one module each. A new kind is a module and a line in the table."""

from __future__ import annotations

from perf.simulator.executables import (
    azure_openai,
    bedrock,
    cohere,
    gemini,
    nvidia,
    open_source,
    orchestration,
    perplexity,
)
from perf.simulator.executables.base import Executable

EXECUTABLES: dict[str, Executable] = {
    executable.id: executable
    for executable in (
        azure_openai.EXECUTABLE,
        open_source.MISTRAL,
        open_source.OPEN_SOURCE,
        bedrock.EXECUTABLE,
        gemini.EXECUTABLE,
        cohere.EXECUTABLE,
        nvidia.EXECUTABLE,
        perplexity.EXECUTABLE,
        orchestration.EXECUTABLE,
    )
}
