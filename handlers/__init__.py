"""HTTP in the caller's dialect: one file a surface. `routes` is all of it."""

from __future__ import annotations

from sanic import Blueprint

from handlers import chat, docs, embeddings, health, models

routes = Blueprint.group(chat.bp, embeddings.bp, models.bp, health.bp, docs.bp)
