"""What a stream does with content and an error that come in one piece."""

from __future__ import annotations

import pytest

from services.errors import UpstreamFailed
from services.translation.through.chat import ChatRelay
from tests.services.pipeline_kit import STREAM, FakeStream, Kit, read
from tests.services.translation.samples import chunk, sse

BROKEN = sse(chunk(delta={"content": "a"}), '{"error":{"message":"overloaded"}}')


def test_content_before_an_error_is_passed_on() -> None:
    """The piece's content is the caller's; the failure waits for the next step."""
    relay = ChatRelay(model="m", wants_usage=False)

    assert b'"content":"a"' in relay.feed(BROKEN)
    assert isinstance(relay.failure, UpstreamFailed)


async def test_an_error_in_the_first_piece_goes_to_another_deployment() -> None:
    """Nothing has been sent yet, so the content before it does not matter."""
    kit = Kit(("one", "d1"), ("one", "d2"))
    kit.script(d1=FakeStream(200, BROKEN), d2=(200, STREAM))
    chunks = await kit.pipeline.stream(kit.ask(stream=True))

    assert b"[DONE]" in await read(chunks)
    assert ["d1", "d2"] == kit.upstream.asked


async def test_an_error_in_a_later_piece_comes_after_its_content() -> None:
    """The caller reads what there was, then the failure."""
    kit = Kit(("one", "d1"))
    kit.script(d1=FakeStream(200, sse(chunk(delta={"content": "b"})), BROKEN))
    chunks = await kit.pipeline.stream(kit.ask(stream=True))
    read_so_far = [await anext(chunks), await anext(chunks)]

    assert b'"content":"a"' in read_so_far[1]
    with pytest.raises(UpstreamFailed):
        await anext(chunks)
    await chunks.aclose()
    assert {} == kit.in_flight


class _Silent(ChatRelay):
    """A dialect whose last event has gone out when the upstream's stream ends."""

    def close(self) -> bytes:
        super().close()
        return b""


async def test_a_stream_ends_without_an_empty_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the wire it would be the end of the body before its time."""
    monkeypatch.setattr("services.translation.through.chat.ChatRelay", _Silent)
    kit = Kit(("one", "d1"))
    kit.script(d1=(200, STREAM))
    pieces = [piece async for piece in await kit.pipeline.stream(kit.ask(stream=True))]

    assert all(pieces)
    assert {} == kit.in_flight
