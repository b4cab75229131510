"""Answers for Gemini's clients, whole and streamed."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from services.errors import UpstreamLimited
from services.translation import fields
from services.translation.callers.gemini import CALLER
from services.translation.callers.gemini_seals import seal
from services.translation.conversation import Reasoning, Text, Turn
from services.translation.dialects import ReplyInfo
from services.translation.events import (
    Cited,
    Counted,
    Event,
    RedactedPiece,
    RefusalPiece,
    Signed,
    Started,
    Stopped,
    StopReason,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
)
from tests.services.translation.gemini_samples import FAILURE, asked, hidden, info
from tests.services.translation.samples import PUBLIC, frames

TOKENS = Tokens(uncached=5, cache_read=3, output=42, reasoning=30)
USAGE = {
    "promptTokenCount": 8,
    "candidatesTokenCount": 12,
    "totalTokenCount": 50,
    "thoughtsTokenCount": 30,
    "cachedContentTokenCount": 3,
}
SAID = [
    Started(),
    Counted(Tokens(uncached=5, cache_read=3)),
    ThinkingPiece("Let me"),
    ThinkingPiece(" see"),
    Signed("S/+=", "claude"),
    TextPiece("Grüße\u2028data: 😀"),
    TextPiece(' "quoted"'),
    ToolOpened("t1", "f"),
    ToolPiece('{"b":'),
    ToolPiece('1.10,"a":2}'),
    ToolOpened("t2", "g", "SIGS"),
    Counted(TOKENS),
    Stopped("tool_calls"),
]
SEALED = seal("S/+=", "claude")
CALL = {"functionCall": {"id": "t1", "name": "f", "args": {"b": 1.1, "a": 2}}}
SIGNED_CALL = {"functionCall": {"id": "t2", "name": "g", "args": {}}, "thoughtSignature": "SIGS"}


def streamed(*events: Event, about: ReplyInfo | None = None) -> bytes:
    writer = CALLER.writer(about or info())
    return b"".join([writer.feed(event) for event in events]) + writer.close()


def stream(*events: Event, about: ReplyInfo | None = None) -> list[Any]:
    """The frames; each is what Google's own types read."""
    out = frames(streamed(*events, about=about))
    for one in out:
        types.GenerateContentResponse.model_validate(one)
    return out


def whole(*events: Event, about: ReplyInfo | None = None) -> dict[str, Any]:
    """The answer; it is what Google's own types read."""
    body = CALLER.render(events, about or info())
    types.GenerateContentResponse.model_validate_json(body)
    return dict(json.loads(body))


def parts(*chunks: Any) -> list[Any]:
    return [part for one in chunks for part in one["candidates"][0]["content"]["parts"]]


def said(*events: Event, about: ReplyInfo | None = None) -> list[Any]:
    """The parts of a stream, but for the empty one at its end; the same as those of a whole answer."""
    *content, last = stream(*events, Stopped("stop"), about=about)
    assert [{"text": ""}] == parts(last)
    return parts(*content)


# --- streams -----------------------------------------------------------------------------------------


def test_a_stream_has_one_part_a_frame_and_calls_whole() -> None:
    """Trap 7: no `[DONE]`. Thoughts with their sealed proof, text, calls with id and signature, the end."""
    out = stream(*SAID)

    assert [
        {"text": "Let me", "thought": True},
        {"text": " see", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": SEALED},
        {"text": "Grüße\u2028data: 😀"},
        {"text": ' "quoted"'},
        CALL,
        SIGNED_CALL,
        {"text": ""},
    ] == parts(*out)
    assert {(PUBLIC, "ab12", 0)} == {
        (one["modelVersion"], one["responseId"], one["candidates"][0]["index"]) for one in out
    }
    assert ("STOP", USAGE) == (out[-1]["candidates"][0]["finishReason"], out[-1]["usageMetadata"])
    assert all("usageMetadata" not in one and "finishReason" not in one["candidates"][0] for one in out[:-1])


def test_arguments_keep_their_bytes() -> None:
    """The order and the numbers of the model."""
    assert b'"args":{"b":1.10,"a":2}' in streamed(*SAID)


def test_nothing_goes_out_before_there_is_content() -> None:
    """A failure before it can still be told by the status."""
    writer = CALLER.writer(info())

    assert [b"", b""] == [writer.feed(Started()), writer.feed(Counted(TOKENS))]


def test_a_call_is_held_until_it_is_whole() -> None:
    """Half of one would be taken for one."""
    writer = CALLER.writer(info())
    held = [writer.feed(event) for event in (ToolOpened("t", "f"), ToolPiece('{"a"'), Counted(TOKENS))]

    assert [b"", b"", b""] == held
    assert writer.fail(FAILURE).startswith(b'data: {"error":')


ENDS_A_CALL = [
    TextPiece("x"),
    ThinkingPiece("x"),
    Signed("SIGS", "gemini"),
    RedactedPiece("D"),
    ToolOpened("t2", "g"),
]


@pytest.mark.parametrize("event", ENDS_A_CALL)
def test_whatever_follows_ends_a_call(event: Event) -> None:
    """No `ToolPiece` at all means `{}`."""
    first = said(ToolOpened("t1", "f"), event)[0]

    assert {"functionCall": {"id": "t1", "name": "f", "args": {}}} == first


def test_broken_arguments_break_no_stream() -> None:
    """Wire §8.0: `args` has to be an object."""
    assert {"_raw": '{"a":'} == said(ToolOpened("t", "f"), ToolPiece('{"a":'))[0]["functionCall"]["args"]


def test_an_answer_without_content_is_an_answer() -> None:
    """With a part, or clients would throw the conversation away."""
    assert (
        [
            {
                "candidates": [
                    {
                        "content": {"role": "model", "parts": [{"text": ""}]},
                        "finishReason": "MAX_TOKENS",
                        "index": 0,
                    }
                ],
                "modelVersion": PUBLIC,
                "responseId": "ab12",
            }
        ]
        == stream(Stopped("length"))
        == [whole(Stopped("length"))]
    )


def test_usage_may_follow_the_stop() -> None:
    """The last one holds."""
    assert (
        USAGE
        == stream(TextPiece("a"), Counted(Tokens()), Stopped("stop"), Counted(TOKENS))[-1]["usageMetadata"]
    )


def test_usage_tells_only_what_there_is() -> None:
    """No cache, no thoughts."""
    usage = whole(Counted(Tokens(uncached=2, output=1)), Stopped("stop"))["usageMetadata"]

    assert {"promptTokenCount": 2, "candidatesTokenCount": 1, "totalTokenCount": 3} == usage


def test_trap_24_a_failure_looks_like_no_end() -> None:
    """Traps 23, 24: Google's error object, then nothing more."""
    writer = CALLER.writer(info())
    out = writer.feed(TextPiece("a")) + writer.fail(FAILURE)
    after = (writer.feed(TextPiece("b")), writer.close(), writer.fail(FAILURE))

    assert {"error": {"code": 502, "message": "it broke", "status": "INTERNAL"}} == frames(out)[-1]
    assert b"finishReason" not in out
    assert (b"", b"", b"") == after


def test_after_the_end_nothing_is_written() -> None:
    """Not even an error."""
    writer = CALLER.writer(info())
    writer.close()

    assert (b"", b"", b"") == (writer.feed(TextPiece("b")), writer.close(), writer.fail(FAILURE))


REASONS: dict[StopReason, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "tool_calls": "STOP",
    "pause": "STOP",
    "length": "MAX_TOKENS",
    "context_length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "malformed": "MALFORMED_FUNCTION_CALL",
}


@pytest.mark.parametrize("reason", REASONS)
def test_trap_9_every_stop_reason_has_its_word(reason: StopReason) -> None:
    """Trap 9, wire §8.0."""
    assert REASONS[reason] == whole(Stopped(reason))["candidates"][0]["finishReason"]


# --- parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (
            [ThinkingPiece("t"), Signed("SIGS", "gemini")],
            [{"text": "t", "thought": True}, {"text": "", "thought": True, "thoughtSignature": "SIGS"}],
        ),
        (
            [TextPiece("a"), Signed("SIGS", "gemini")],
            [{"text": "a"}, {"text": "", "thoughtSignature": "SIGS"}],
        ),
        (
            [Signed("X", "responses"), TextPiece("a")],
            [{"text": "", "thought": True, "thoughtSignature": seal("X", "responses")}, {"text": "a"}],
        ),
        (
            [RedactedPiece("D")],
            [{"text": "", "thought": True, "thoughtSignature": seal("D", "claude", redacted=True)}],
        ),
        ([RefusalPiece("I will not")], [{"text": "I will not"}]),
    ],
)
def test_each_kind_of_piece(events: list[Event], expected: Any) -> None:
    """Gemini's signatures travel as they are, all others behind a seal that is base64."""
    assert expected == said(*events)
    for part in expected:
        base64.b64decode(part.get("thoughtSignature", ""), validate=True)


def test_thoughts_are_withheld_from_those_who_do_not_want_them() -> None:
    """And the proof of what was withheld: alone it proves nothing. One without text is passed on."""
    events = [ThinkingPiece("t"), Signed("X", "claude"), Signed("Y", "claude"), TextPiece("a")]
    expected = [
        {"text": "", "thought": True, "thoughtSignature": seal("Y", "claude")},
        {"text": "a"},
    ]

    assert expected == said(*events, about=hidden())
    assert expected == parts(whole(*events, about=hidden()))


@pytest.mark.parametrize("shown", [True, None])
def test_thoughts_are_shown_to_all_others(shown: bool | None) -> None:
    """Marked as what they are."""
    about = info(asked(reasoning=Reasoning(effort="high", shown=shown)))

    assert [{"text": "t", "thought": True}] == said(ThinkingPiece("t"), about=about)


def test_sources_stand_in_the_last_frame() -> None:
    """Those without a name or an address are none."""
    cited = (
        Cited("https://h", "T"),
        Cited("u"),
        Cited(title="only"),
        Cited(citation={"type": "char_location"}),
    )
    expected = {
        "groundingChunks": [
            {"web": {"uri": "https://h", "title": "T"}},
            {"web": {"uri": "u"}},
            {"web": {"title": "only"}},
        ]
    }

    assert expected == stream(TextPiece("a"), *cited)[-1]["candidates"][0]["groundingMetadata"]
    assert expected == whole(TextPiece("a"), *cited)["candidates"][0]["groundingMetadata"]


# --- whole answers -----------------------------------------------------------------------------------


def test_a_whole_answer() -> None:
    """The same content, block by block."""
    assert {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "Let me see", "thought": True, "thoughtSignature": SEALED},
                        {"text": 'Grüße\u2028data: 😀 "quoted"'},
                        CALL,
                        SIGNED_CALL,
                    ],
                },
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": USAGE,
        "modelVersion": PUBLIC,
        "responseId": "ab12",
    } == whole(*SAID)


def test_an_unsigned_thought_and_a_refusal() -> None:
    """Nothing is lost."""
    assert [
        {"text": "t", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": seal("D", "claude", redacted=True)},
        {"text": "no"},
    ] == parts(whole(ThinkingPiece("t"), RedactedPiece("D"), RefusalPiece("no"), Stopped("content_filter")))


# --- there and back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
def test_what_the_model_said_comes_back_as_it_was(streams: bool) -> None:
    """Signature, origin, text and calls survive a client that only knows Gemini."""
    chunks = stream(*SAID) if streams else [whole(*SAID)]
    contents = [{"parts": [{"text": "hi"}]}, *(one["candidates"][0]["content"] for one in chunks)]
    read = CALLER.parse({"contents": fields.raw(contents)})

    assert [
        ("Thinking", "Let me see", "S/+=", "claude"),
        ("Text", 'Grüße\u2028data: 😀 "quoted"'),
        ("ToolUse", "t1", "f", '{"b":1.1,"a":2}', ""),
        ("ToolUse", "t2", "g", "{}", "SIGS"),
    ] == [_flat(block) for block in read.turns[1].blocks]


def _flat(block: Any) -> tuple[Any, ...]:
    names = [name for name in block.__struct_fields__ if name not in ("cache", "citations")]
    return (type(block).__name__, *(getattr(block, name) for name in names))


class Gateway(httpx.BaseTransport):
    """Answers Google's client the way the gateway would, and reads what it sends."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(CALLER.parse(fields.parse(request.read())))
        return httpx.Response(200, content=self.answers.pop(0))


def client(gateway: Gateway) -> genai.Client:
    options = types.HttpOptions(base_url="http://gateway.test", httpx_client=httpx.Client(transport=gateway))
    return genai.Client(api_key="none", http_options=options)


def test_googles_client_reads_our_stream_and_sends_it_back() -> None:
    """Thoughts and their proof, text, calls and usage, by way of its own chat history."""
    gateway = Gateway(streamed(*SAID), CALLER.render([TextPiece("bye"), Stopped("stop")], info()))
    chat = client(gateway).chats.create(model=PUBLIC)
    chunks = list(chat.send_message_stream("hi"))
    calls = [call for chunk in chunks for call in chunk.function_calls or ()]
    answer = chat.send_message(
        [types.Part.from_function_response(name=call.name or "", response={"result": "x"}) for call in calls]
    )

    assert 'Grüße\u2028data: 😀 "quoted"' == "".join(
        part.text or ""
        for chunk in chunks
        for part in chunk.candidates[0].content.parts  # type: ignore[index,union-attr]
        if not part.thought
    )
    assert [("t1", "f", {"b": 1.1, "a": 2}), ("t2", "g", {})] == [
        (one.id, one.name, one.args) for one in calls
    ]
    assert 50 == chunks[-1].usage_metadata.total_token_count  # type: ignore[union-attr]
    assert "bye" == answer.text
    user, model, results = gateway.asked[1].turns
    assert Turn("user", (Text("hi"),)) == user
    assert ("Thinking", "Let me see", "S/+=", "claude") == _flat(model.blocks[0])
    assert ["t1", "t2"] == [block.tool_id for block in results.blocks]


def test_googles_client_raises_our_error() -> None:
    """Trap 23: with its status and its words."""
    writer = CALLER.writer(info())
    broken = writer.feed(TextPiece("a")) + writer.fail(UpstreamLimited("x", public="slow down"))
    chunks = client(Gateway(broken)).models.generate_content_stream(model=PUBLIC, contents="hi")
    first = next(chunks).text

    with pytest.raises(errors.APIError, match="slow down") as caught:
        next(chunks)
    assert ("a", 429, "RESOURCE_EXHAUSTED") == (first, caught.value.code, caught.value.status)
