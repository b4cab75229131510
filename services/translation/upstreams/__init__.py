"""How deployments are spoken to through the pivot: one module a dialect, each a `dialects.Upstream`."""

from __future__ import annotations

from collections.abc import Mapping

from services.translation.dialects import Upstream
from services.translation.upstreams import claude, cohere, converse, gemini, openai, orchestration, responses

UPSTREAMS: Mapping[str, Upstream] = {
    "azure-openai": openai.UPSTREAM,
    "azure-responses": responses.UPSTREAM,
    "openai-like": openai.UPSTREAM,
    "claude": claude.UPSTREAM,
    "converse": converse.UPSTREAM,
    "gemini": gemini.UPSTREAM,
    "cohere": cohere.UPSTREAM,
    "orchestration": orchestration.UPSTREAM,
}
"""Dialect → how its deployments are spoken to. `azure-responses` is azure-openai's second way."""
