"""A caller and an upstream joined: who is spoken to how, and what happens to every answer on its way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from services.errors import BadRequest, GatewayError, UpstreamBroken, UpstreamLimited, UpstreamRefused
from services.translation import fields, translate
from services.translation.capabilities import facts_for
from services.translation.conversation import Conversation, Document, Image, Text, ToolResult, Turn
from services.translation.dialects import Caller, ReplyInfo, Sent, Upstream
from services.translation.events import (
    Counted,
    Event,
    Started,
    Stopped,
    TextPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
)
from services.translation.fields import Fields
from services.translation.replies import Inline, Prepared, Target, Usage
from services.translation.structured import TOOL, Unwrapping
from services.translation.toolnames import safe
from services.translation.translate import Telling, inlined, prepare, remote_urls

ODD = "a tool, oddly named"
EVENTS: tuple[Event, ...] = (Started(), TextPiece("hi"), Counted(Tokens(3, output=2)), Stopped("stop"))


class Reader:
    """Reads frames like `t:text`, `tool:name`, `stop:reason`, `end`, `throw`."""

    def __init__(self, info: ReplyInfo) -> None:
        self.done = False

    def feed(self, data: bytes) -> list[Event]:
        """One event a frame."""
        word, _, rest = data.decode().partition(":")
        if word == "throw":
            raise UpstreamLimited("slow down")
        if word == "end":
            self.done = True
            return []
        made: dict[str, Any] = {
            "t": lambda: TextPiece(rest),
            "tool": lambda: ToolOpened("1", rest),
            "count": lambda: Counted(Tokens(int(rest))),
            "stop": lambda: Stopped(rest),  # type: ignore[arg-type]
        }
        return [made[word]()]

    def close(self) -> list[Event]:
        """Nothing more."""
        return []


class Writer:
    """Writes events as their names."""

    def __init__(self, info: ReplyInfo) -> None:
        self.info = info

    def feed(self, event: Event) -> bytes:
        """A word for each."""
        match event:
            case TextPiece(text):
                return f"<{text}>".encode()
            case ToolOpened(name=name):
                return f"[{name}]".encode()
            case Stopped(reason):
                return f"({reason})".encode()
            case _:
                return b""

    def close(self) -> bytes:
        """The end."""
        return b"END"

    def fail(self, error: GatewayError) -> bytes:
        """No end."""
        return f"FAILED {error.public}".encode()


def parse(body: Fields) -> Conversation:
    """One turn with the member `say`, and media named by `url`."""
    blocks: list[Any] = [Text(fields.required(body, "say", str))]
    if url := fields.read(body, "url", str):
        blocks.append(Image(url=url))
    return Conversation(turns=(Turn("user", tuple(blocks)),), names={"stop": "halt"})


def render(events: Sequence[Event], info: ReplyInfo) -> bytes:
    """The answer as a stream's bytes, without end."""
    writer = Writer(info)
    return b"".join(map(writer.feed, events))


CALLER = Caller("mine", parse, render, Writer, lambda error, request_id: b"")
SENT: list[Sent] = []


def request(conversation: Conversation, target: Target) -> Sent:
    """The first of what the test laid out, or a plain one."""
    return SENT[0] if SENT else Sent("/p", msgspec.json.encode(conversation), dropped=("stop",))


def answer(body: bytes, info: ReplyInfo) -> Sequence[Event]:
    """Whatever the body says, as frames one a line."""
    reader = Reader(info)
    return [event for line in body.split(b"\n") for event in reader.feed(line)]


@pytest.fixture(autouse=True)
def dialects(monkeypatch: pytest.MonkeyPatch) -> None:
    """One caller and one upstream of the test's own."""
    SENT.clear()
    monkeypatch.setitem(translate.CALLERS, "mine", CALLER)  # type: ignore[arg-type]
    monkeypatch.setitem(translate.UPSTREAMS, "claude", Upstream(request, answer, Reader))  # type: ignore[arg-type]


def target(model: str = "anthropic--claude-4.6-sonnet", **members: Any) -> Target:
    """The model under a public name."""
    return Target("ours", model, facts_for(model), "v", {}, **members)


def prepared(
    model: str = "anthropic--claude-4.6-sonnet", *, stream: bool = False, **members: Any
) -> Prepared:
    """The request `say: Hi`, translated."""
    body = {name: fields.raw(value) for name, value in {"say": "Hi", **members}.items()}
    return prepare(body, target(model), surface="mine", stream=stream)


def relay(*, sent: Sent | None = None) -> Any:
    """A relay for one stream."""
    SENT[:] = [sent] if sent else []
    made = prepared(stream=True).relay
    assert made is not None
    return made()


def sse(*frames: str) -> bytes:
    """Frames as server-sent events."""
    return "".join(f"data: {frame}\n\n" for frame in frames).encode()


# --- who is spoken to how ---


@pytest.mark.parametrize("model", ["text-embedding-3-small", "gpt-realtime"])
def test_a_model_without_conversations_says_what_it_is_for(model: str) -> None:
    """400 that names the model."""
    with pytest.raises(BadRequest, match="it is for") as caught:
        prepared(model)
    assert "model" == caught.value.param


AZURE_CHAT = "/chat/completions?api-version=v"
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
MESSAGES = {"max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
FORMAT = {
    "type": "json_schema",
    "schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False},
}
CLIENT_TOOLS = [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]


@pytest.mark.parametrize(
    ("surface", "model", "body", "path"),
    [
        ("chat", "gpt-5", CHAT, AZURE_CHAT),
        ("chat", "gpt-5", {**CHAT, "tools": TOOLS, "reasoning_effort": "low"}, AZURE_CHAT),
        ("chat", "gpt-5.5", {**CHAT, "tools": TOOLS}, AZURE_CHAT),
        ("chat", "gpt-5.5", {**CHAT, "reasoning_effort": "low"}, AZURE_CHAT),
        (
            "chat", "gpt-5.5", {**CHAT, "tools": TOOLS, "reasoning_effort": "none"},
            AZURE_CHAT,
        ),
        ("chat", "gpt-5.5", {**CHAT, "tools": TOOLS, "reasoning_effort": "low"}, "/responses?api-version=v"),
        ("chat", "gpt-5.3-codex", CHAT, "/responses?api-version=v"),
        ("chat", "qwen3-max", CHAT, "/chat/completions"),
        ("messages", "gpt-5", MESSAGES, AZURE_CHAT),
        ("messages", "gpt-5", {**MESSAGES, "tools": CLIENT_TOOLS}, "/responses?api-version=v"),
        ("messages", "gpt-4.1", {**MESSAGES, "tools": CLIENT_TOOLS}, AZURE_CHAT),
        ("messages", "gpt-5.3-codex", MESSAGES, "/responses?api-version=v"),
        ("responses", "gpt-5", {"input": "Hi"}, "/responses?api-version=v"),
        ("responses", "gpt-4.1", {"input": "Hi"}, AZURE_CHAT),
        ("responses", "qwen3-max", {"input": "Hi"}, "/chat/completions"),
        ("messages", "amazon--nova-pro", MESSAGES, "/converse"),
        ("messages", "anthropic--claude-4.6-sonnet", MESSAGES, "/invoke"),
    ],
)  # fmt: skip
def test_each_pair_has_its_way(surface: str, model: str, body: Any, path: str) -> None:
    """GPT's reasoning across tools is kept by Responses alone (wire §5.1, §8.8)."""
    made = prepare(fields.parse(json.dumps(body).encode()), target(model), surface=surface, stream=False)

    assert path == made.path


# --- the request ---


def test_what_the_upstream_cannot_say_is_told_by_the_callers_name() -> None:
    """`stop` is this caller's `halt`."""
    assert ("halt",) == prepared().dropped


def test_the_body_is_not_changed() -> None:
    """A further attempt needs it."""
    body = {"say": fields.raw("Hi")}
    prepare(body, target(), surface="mine", stream=True)

    assert {"say": fields.raw("Hi")} == body


@pytest.mark.parametrize("stream", [False, True])
def test_only_a_stream_has_a_relay(stream: bool) -> None:
    """And nothing to amend unless the dialect says so."""
    made = prepared(stream=stream)

    assert (stream, None) == (made.relay is not None, made.amend)


def test_a_refusal_may_be_met_with_another_form() -> None:
    """Asked of the dialect, which may have none."""
    other = Sent("/other", b"{}")
    SENT[:] = [Sent("/p", b"{}", amend=lambda error: other if "beta" in str(error) else None)]
    made = prepared()
    assert made.amend is not None

    amended = made.amend(UpstreamRefused("invalid beta flag"))

    assert amended is not None
    assert ("/other", None) == (amended.path, amended.amend)
    assert made.amend(UpstreamRefused("else")) is None


# --- remote media ---


def test_urls_are_found_where_they_have_to_be_fetched() -> None:
    """Once each, also where JSON escapes the slashes, which it may."""
    body = fields.parse(b'{"say":"Hi","url":"https://x/y.png"}')
    escaped = fields.parse(rb'{"say":"Hi","url":"https:\/\/x\/y.png"}')

    assert ("https://x/y.png",) == remote_urls(escaped, surface="mine", facts=target().facts)
    assert ("https://x/y.png",) == remote_urls(body, surface="mine", facts=target().facts)


@pytest.mark.parametrize(
    ("body", "surface", "model"),
    [
        (b'{"say":"Hi"}', "mine", "anthropic--claude-4.6-sonnet"),
        (b'{"say":"see https://x"}', "mine", "anthropic--claude-4.6-sonnet"),
        (b'{"say":"see \\"https://x\\"","url":"ftp://x"}', "mine", "anthropic--claude-4.6-sonnet"),
        (b'{"input":"https://x"}', "embeddings", "text-embedding-3-small"),
        (b'{"messages":"https://x"}', "chat", "gpt-5"),
    ],
)
def test_no_urls_are_found_elsewhere(body: bytes, surface: str, model: str) -> None:
    """Not in texts, and not for upstreams that fetch by themselves."""
    assert () == remote_urls(fields.parse(body), surface=surface, facts=facts_for(model))


def test_texts_that_quote_urls_are_no_reason_to_read_the_conversation() -> None:
    """Prompts of programmers are full of them, and reading is what costs."""
    body = fields.parse(rb'{"messages":"no conversation","text":"\"https://x\" \"HTTP://y\""}')

    assert () == remote_urls(body, surface="chat", facts=facts_for("anthropic--claude-4.6-sonnet"))


def test_urls_may_be_in_capitals() -> None:
    """Schemes have no case."""
    body = fields.parse(b'{"say":"\\"http","url":"HTTPS://x/y.png"}')

    assert ("HTTPS://x/y.png",) == remote_urls(body, surface="mine", facts=target().facts)


FETCHED = {"https://x": Inline("image/png", "AAAA")}


def test_fetched_media_take_the_place_of_their_urls() -> None:
    """In messages and in tool results; everything else stays."""
    asked = Conversation(
        turns=(
            Turn("user", (Text("a"), Image(url="https://x", detail="low"))),
            Turn("user", (ToolResult("1", (Text("b"), Document(url="https://x", title="t"))),)),
        )
    )

    made = inlined(asked, FETCHED)

    assert (Text("a"), Image("image/png", "AAAA", detail="low")) == made.turns[0].blocks
    assert (ToolResult("1", (Text("b"), Document("image/png", "AAAA", title="t"))),) == made.turns[1].blocks


def test_without_urls_nothing_is_copied() -> None:
    """Nearly always."""
    asked = Conversation(turns=(Turn("user", (Image("image/png", "AAAA"),)),))

    assert asked is inlined(asked, {})


def test_a_url_that_was_not_fetched_is_refused() -> None:
    """400 that says what to send instead, and where."""
    with pytest.raises(BadRequest, match="base64") as caught:
        prepared(url="https://x")
    assert "messages" == caught.value.param


PATCH = {"type": "custom", "name": "apply_patch"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    ("members", "functions"),
    [
        ({"store": False, "tools": [PATCH]}, ["apply_patch"]),
        ({"store": False, "tools": [FUNCTION, PATCH]}, ["f", "apply_patch"]),
        ({"tools": [FUNCTION, PATCH]}, ["f"]),
        ({"store": False, "tools": [{**FUNCTION, "description": '"custom"'}]}, ["f"]),
    ],
)
def test_custom_tools_become_functions_where_nothing_is_stored(members: Any, functions: list[str]) -> None:
    """Codex's way; a stored conversation passes through without them, and the answer says so."""
    body = fields.parse(json.dumps({"input": "Hi", **members}).encode())

    sent = json.loads(prepare(body, target("gpt-5"), surface="responses", stream=False).body)

    assert functions == [tool["name"] for tool in sent["tools"]]
    assert {"function"} == {tool["type"] for tool in sent["tools"]}


# --- whole answers ---


def test_a_whole_answer() -> None:
    """With what the log wants to know."""
    made = prepared().answer(b"t:hi\ncount:5\nstop:stop")

    assert (b"<hi>(stop)", Usage(5, 0, 5), "stop") == (made.body, made.usage, made.finish_reason)


def test_an_answer_without_a_finish_reason_is_broken() -> None:
    """It looks complete and is not."""
    with pytest.raises(UpstreamBroken):
        prepared().answer(b"t:hi")


def test_calls_make_the_finish_reason() -> None:
    """Whatever the upstream says (wire §8.0)."""
    assert "tool_calls" == prepared().answer(b"tool:f\nstop:stop").finish_reason


# --- streams ---


def test_a_stream() -> None:
    """Frame by frame; nothing after the end."""
    one = relay()

    assert b"<a><b>" == one.feed(sse("t:a", "t:b"))
    assert b"(stop)" == one.feed(sse("count:5", "stop:stop", "end", "t:late"))
    assert (True, Usage(5, 0, 5), "stop") == (one.done, one.usage, one.finish_reason)
    assert b"END" == one.close()


def test_a_last_event_may_lack_its_blank_line() -> None:
    """An end of stream ends an event too."""
    one = relay()
    one.feed(b"data: t:a\n\ndata: stop:stop")

    assert b"(stop)END" == one.close()


def test_trap_14_a_stream_without_its_end_is_broken() -> None:
    """Trap 14: it never looks complete."""
    one = relay()
    one.feed(sse("t:a"))

    with pytest.raises(UpstreamBroken):
        one.close()


def test_an_error_frame_is_raised() -> None:
    """So that another deployment can be asked."""
    with pytest.raises(UpstreamLimited):
        relay().feed(sse("throw"))


def test_what_came_before_an_error_is_the_callers() -> None:
    """The failure follows."""
    one = relay()

    assert b"<a>" == one.feed(sse("t:a", "throw", "t:b"))
    assert isinstance(one.failure, UpstreamLimited)


def test_a_failure_is_written_in_the_callers_dialect() -> None:
    """By its writer."""
    assert b"FAILED gone" == relay().fail(GatewayError("x", public="gone"))


# --- streams from whole answers ---


def test_a_whole_answer_is_replayed_as_a_stream() -> None:
    """Where the upstream does not stream the model."""
    one = relay(sent=Sent("/p", b"{}", whole=True))

    assert (b"", b"", None, "") == (one.feed(b"t:hi\nsto"), one.feed(b"p:stop"), one.usage, one.finish_reason)
    assert (b"<hi>(stop)END", "stop") == (one.close(), one.finish_reason)
    assert b"FAILED x" == one.fail(GatewayError("x"))


def test_a_replayed_answer_has_to_be_complete() -> None:
    """Like any other."""
    one = relay(sent=Sent("/p", b"{}", whole=True))
    one.feed(b"t:hi")

    with pytest.raises(UpstreamBroken):
        one.close()


def test_a_replayed_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept in memory."""
    monkeypatch.setattr(translate, "MAX_WHOLE_BYTES", 3)
    one = relay(sent=Sent("/p", b"{}", whole=True))

    with pytest.raises(UpstreamBroken, match="exceeds"):
        one.feed(b"1234")


# --- putting events right ---


def test_tool_names_become_the_callers_again() -> None:
    """The upstream knows the safe ones."""
    told = Telling({safe(ODD): ODD})

    assert [ToolOpened("1", ODD), ToolOpened("2", "f")] == list(
        told.feed([ToolOpened("1", safe(ODD)), ToolOpened("2", "f")])
    )


def test_the_emulating_tool_is_no_call() -> None:
    """Its arguments are the text, and the finish reason is `stop`."""
    told = Telling({}, Unwrapping())

    events = told.feed([ToolOpened("1", TOOL), ToolPiece("{}"), Stopped("tool_calls")])

    assert ([TextPiece("{}"), Stopped("stop")], "stop") == (list(events), told.finish_reason)


def test_a_call_without_arguments_is_an_empty_object_also_before_a_single_piece() -> None:
    """Text behind the call of our own tool does not come before what the call says."""
    told = Telling({}, Unwrapping())

    assert [] == list(told.feed([ToolOpened("1", TOOL)]))
    assert [TextPiece("{}"), TextPiece("x")] == list(told.feed([TextPiece("x")]))


def test_a_single_piece_of_text_passes_as_it_is() -> None:
    """The hot path."""
    one = [TextPiece("x")]

    assert one is Telling({}).feed(one)


@pytest.mark.parametrize(
    ("model", "member", "emulated"),
    [
        ("anthropic--claude-4.5-sonnet", {}, False),
        ("anthropic--claude-4.5-sonnet", {"output_config": {"effort": "low"}}, False),
        ("anthropic--claude-4.5-sonnet", {"output_config": {"format": FORMAT}}, True),
        ("anthropic--claude-4.5-sonnet", {"output_format": FORMAT}, True),
        ("anthropic--claude-4.6-sonnet", {"output_config": {"format": FORMAT}}, False),
    ],
)
def test_older_claudes_need_help_with_schemas(
    model: str, member: Any, emulated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then their requests do not pass through."""
    monkeypatch.undo()  # the real upstream
    body = fields.parse(json.dumps({**MESSAGES, **member}).encode())

    sent = json.loads(prepare(body, target(model), surface="messages", stream=False).body)

    assert emulated == (TOOL in str(sent.get("tools")))


def test_tokens_are_estimated_from_the_conversation() -> None:
    """More of it is more of them."""
    short, long = (
        translate.count_tokens({"say": fields.raw(text)}, surface="mine") for text in ("Hi", "Hi " * 100)
    )

    assert 0 < short < long


# --- depth ---


def _nested(depth: int, surface: str) -> Fields:
    schema = '{"items":' * depth + "{}" + "}" * depth
    body = {
        "chat": '{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":'
        '{"name":"t","parameters":%s}}]}',
        "messages": '{"max_tokens":9,"messages":[{"role":"user","content":"a"}],"output_format":'
        '{"type":"json_schema","schema":%s}}',
        "responses": '{"input":"a","text":{"format":{"type":"json_schema","name":"n","schema":%s}}}',
        "gemini": '{"contents":[{"parts":[{"text":"https://x"}]}],"tools":[{"functionDeclarations":'
        '[{"name":"t","parameters":%s}]}]}',
    }[surface]
    return fields.parse((body % schema).encode())


def _refused(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except BadRequest:
        return True
    return False


DEPTHS = (*range(300, 960, 60), *range(960, 1_000, 2), 100_000)


@pytest.mark.parametrize("surface", ["chat", "messages", "responses", "gemini"])
@pytest.mark.parametrize(
    "model", ["gpt-4.1", "anthropic--claude-4.6-sonnet", "amazon--nova-pro", "cohere--command-a-reasoning"]
)
def test_what_is_nested_too_deeply_is_refused(surface: str, model: str) -> None:
    """However deep: decoding takes more than walking through it does, and than encoding it inside of more."""
    to = target(model)
    asks: tuple[Callable[[Fields], object], ...] = (
        lambda body: prepare(body, to, surface=surface, stream=False),
        lambda body: translate.count_tokens(body, surface=surface),
        lambda body: remote_urls(body, surface=surface, facts=to.facts),
    )
    outcomes = [
        [_refused(lambda depth=depth, ask=ask: ask(_nested(depth, surface))) for depth in DEPTHS]  # type: ignore[misc]
        for ask in asks
    ]

    assert [(False, True)] * 3 == [(first, last) for first, *_, last in outcomes]
