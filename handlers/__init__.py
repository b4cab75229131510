"""HTTP in the caller's dialect: one file a surface. `routes` is all of it."""

from __future__ import annotations

from sanic import Blueprint

from handlers import chat, completions, docs, embeddings, gemini, health, messages, models, responses

routes = Blueprint.group(
    chat.bp,
    completions.bp,
    responses.bp,
    messages.bp,
    gemini.bp,
    embeddings.bp,
    models.bp,
    health.bp,
    docs.bp,
)
