"""The Bedrock URL form of Anthropic Messages: bodies with `anthropic_version`, streams as AWS sends them.

The URL names the model and says whether the answer is a stream (`invoke`, `invoke-with-response-stream`).
"""

from __future__ import annotations

from base64 import b64encode
from functools import partial

from services.errors import GatewayError
from services.translation.callers.envelopes import bedrock_error, bedrock_exception
from services.translation.callers.messages import parse
from services.translation.callers.messages_answer import Framing, MessagesWriter, render
from services.translation.dialects import Caller
from services.translation.frames import aws_event, aws_headers

CONTENT_TYPE = "application/vnd.amazon.eventstream"
"""Of a stream's answer."""

_CHUNK = aws_headers({":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"})


def _chunk(kind: str, data: bytes) -> bytes:
    return aws_event(_CHUNK, b'{"bytes":"%b"}' % b64encode(data))


def _exception(error: GatewayError) -> bytes:
    headers = {
        ":exception-type": bedrock_exception(error),
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return aws_event(aws_headers(headers), bedrock_error(error))


AWS = Framing(event=_chunk, fail=_exception)

CALLER = Caller(
    surface="bedrock",
    parse=parse,
    render=render,
    writer=partial(MessagesWriter, framing=AWS),
    envelope=bedrock_error,
)
