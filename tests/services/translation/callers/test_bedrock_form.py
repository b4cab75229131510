"""The Bedrock URL form: Messages, with streams as AWS frames them."""

from __future__ import annotations

import json

import anthropic
import httpx2
import pytest
from anthropic.types import Message

from services.errors import BadRequest, RateLimited, UpstreamBroken
from services.translation import fields
from services.translation.callers.bedrock import CALLER, CONTENT_TYPE
from services.translation.conversation import Text
from services.translation.events import Counted, Stopped, TextPiece, Tokens, ToolOpened, ToolPiece
from tests.services.translation.messages_samples import INFO, PUBLIC, bedrock_events, request

TOLD = [
    TextPiece("Grüße "),
    TextPiece("😀"),
    ToolOpened("i", "look"),
    ToolPiece('{"a":1}'),
    Counted(Tokens(uncached=3, output=4)),
    Stopped("tool_calls"),
]


def stream() -> bytes:
    """The whole binary stream."""
    writer = CALLER.writer(INFO)
    return b"".join([writer.feed(event) for event in TOLD]) + writer.close()


def test_the_body_is_anthropics_with_a_version() -> None:
    """It has neither model nor stream; nothing of it is lost."""
    body = request(model=..., anthropic_version="bedrock-2023-05-31", anthropic_beta=["b"])
    asked = CALLER.parse(body)

    assert ([Text("hi")], ("b",), ()) == (list(asked.blocks()), asked.betas, asked.dropped)


def test_the_limit_is_required() -> None:
    """As Anthropic requires it."""
    with pytest.raises(BadRequest) as refused:
        CALLER.parse(fields.parse(b'{"messages":[{"role":"user","content":"a"}]}'))
    assert "max_tokens" == refused.value.param


def test_boto_reads_every_event() -> None:
    """Each is a chunk message around Anthropic's JSON."""
    kinds = [event["type"] for event in bedrock_events(stream())]

    assert ["message_start", "content_block_start", "content_block_delta", "content_block_delta"] == kinds[:4]
    assert ["message_delta", "message_stop"] == kinds[-2:]


def test_anthropics_bedrock_client_reads_the_stream() -> None:
    """From the URL to the message."""
    asked: list[httpx2.Request] = []

    def answer(sent: httpx2.Request) -> httpx2.Response:
        asked.append(sent)
        return httpx2.Response(200, headers={"content-type": CONTENT_TYPE}, content=stream())

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        anthropic.AnthropicBedrock(
            api_key="k", aws_region="eu-central-1", base_url="http://gateway", http_client=http, max_retries=0
        ) as client,
        client.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        ) as streamed,
    ):
        message = streamed.get_final_message()

    assert "/model/m/invoke-with-response-stream" == asked[0].url.path
    assert ("Grüße 😀", {"a": 1}, PUBLIC) == (
        message.content[0].text,  # type: ignore[union-attr]
        message.content[1].input,  # type: ignore[union-attr]
        message.model,
    )
    assert "max_tokens" not in CALLER.parse(fields.parse(asked[0].content)).dropped


def test_a_whole_answer_is_anthropics() -> None:
    """Validated by the SDK's model."""
    message = Message.model_validate_json(CALLER.render(TOLD, INFO))

    assert ("tool_use", PUBLIC) == (message.stop_reason, message.model)


def test_a_failed_stream_ends_with_an_exception() -> None:
    """Of AWS's name, as boto reads it."""
    writer = CALLER.writer(INFO)
    out = writer.feed(TextPiece("a")) + writer.fail(RateLimited("slow down"))

    assert {"exception": {"Code": "throttlingException", "Message": "slow down"}} == bedrock_events(out)[-1]
    assert b"" == writer.fail(UpstreamBroken("cut")) + writer.close()


def test_errors_have_awss_form() -> None:
    """The code travels in the head."""
    assert {"message": "no"} == json.loads(CALLER.envelope(BadRequest("no"), ""))
