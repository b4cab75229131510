"""Join a caller and an upstream: the request to its form, the answer back.

Where both speak the same dialect the request passes through (`through`); everything else goes by the pivot.
Which dialects there are stands in the tables of `callers`, `upstreams` and `through`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, wraps
from typing import Any, ClassVar, ParamSpec, TypeVar, cast

import msgspec

from services.errors import BadRequest, GatewayError, UpstreamBroken, UpstreamError
from services.translation.callers import CALLERS
from services.translation.capabilities import CHAT, RESPONSES, ModelFacts
from services.translation.conversation import Block, Conversation, Document, Image, Text, ToolResult, Turn
from services.translation.dialects import Caller, Reader, ReplyInfo, Sent, Upstream, Writer
from services.translation.efforts import effort_of
from services.translation.estimate import estimated_tokens
from services.translation.events import Counted, Event, Started, Stopped, TextPiece, ToolOpened
from services.translation.fields import ABSENT, Fields, present, read
from services.translation.replies import Answer, Inline, Prepared, Relay, Target, Usage, inline
from services.translation.rules import deterministic, suited
from services.translation.structured import Unwrapping, emulated
from services.translation.through import THROUGH
from services.translation.through.relay import FrameRelay
from services.translation.toolnames import renamed
from services.translation.upstreams import UPSTREAMS

_FETCHES_ITSELF = frozenset(
    {("chat", "azure-openai"), ("responses", "azure-openai"), ("chat", "openai-like")}
)
"""Where URLs go up as they are: the upstream fetches them, or says that it does not (wire §5.1)."""

_CONTENTS: Mapping[str, str] = {"responses": "input", "gemini": "contents", "completions": "prompt"}
"""Surface → the field that holds the conversation, where it is not `messages`."""

_URL_MARKS = (b'"http', b'"HTTP')
"""How a string begins that is a URL. Inside of other strings a backslash stands before it."""
_BACKSLASH = ord("\\")

MAX_WHOLE_BYTES = 64 * 1024 * 1024
"""Of a whole answer that is replayed as a stream."""

P = ParamSpec("P")
R = TypeVar("R")


def _not_too_deep(translate: Callable[P, R]) -> Callable[P, R]:
    """Refuse what is nested so deeply that it can be decoded, but not walked through or encoded again."""

    @wraps(translate)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return translate(*args, **kwargs)
        except RecursionError as exc:
            raise BadRequest("the request body is nested too deeply") from exc

    return guarded


@_not_too_deep
def prepare(body: Fields, target: Target, *, surface: str, stream: bool) -> Prepared:
    """Return the request for the model's deployments, and how their answers come back.

    Raises BadRequest naming a field that cannot be honoured.
    """
    _check_mode(target)
    through = THROUGH.get((surface, target.facts.dialect))
    if through is not None and _passes(surface, body, target.facts):
        return through(body, target, stream=stream)
    caller = CALLERS[surface]
    conversation = msgspec.structs.replace(caller.parse(body), stream=stream)
    upstream = _upstream_for(surface, conversation, target.facts)
    conversation = inlined(conversation, target.fetched, field=_CONTENTS.get(surface, "messages"))
    conversation = suited(conversation, target.facts, target.defaults, takes=upstream.takes)
    return _Journey(caller, upstream, conversation, target).prepared()


@_not_too_deep
def remote_urls(body: Fields, *, surface: str, facts: ModelFacts) -> tuple[str, ...]:
    """Return the URLs of pictures and documents that have to be fetched for this model. Raises BadRequest."""
    if surface not in CALLERS or (surface, facts.dialect) in _FETCHES_ITSELF:
        return ()
    if not any(_may_name_urls(bytes(raw)) for raw in body.values()):
        return ()  # nearly always, and far cheaper than reading the conversation
    return tuple(dict.fromkeys(_urls(CALLERS[surface].parse(body))))


def _may_name_urls(data: bytes) -> bool:
    """Whether a string begins as a URL does."""
    for mark in _URL_MARKS:
        at = data.find(mark)
        while at >= 0:
            if data[at - 1] != _BACKSLASH:
                return True
            at = data.find(mark, at + 1)
    return False


@_not_too_deep
def count_tokens(body: Fields, *, surface: str) -> int:
    """Return about how many input tokens the request has. Raises BadRequest."""
    return estimated_tokens(CALLERS[surface].parse(body))


def _check_mode(target: Target) -> None:
    modes = target.facts.modes
    if CHAT not in modes and RESPONSES not in modes:
        raise BadRequest(
            f"the model '{target.public_name}' holds no conversations; it is for: {', '.join(modes)}",
            param="model",
        )


def _passes(surface: str, body: Fields, facts: ModelFacts) -> bool:
    """Whether the surface's own API of the model takes this request."""
    if surface == RESPONSES:
        return RESPONSES in facts.modes and not _needs_functions(body)
    if surface != CHAT:
        return facts.json_schema == "native" or not _wants_schema(body)
    if CHAT not in facts.modes:
        return False
    asks_both = present(body.get("tools", ABSENT)) and present(body.get("reasoning_effort", ABSENT))
    return not asks_both or facts.tools_with_effort == CHAT or read(body, "reasoning_effort", str) == "none"


def _needs_functions(body: Fields) -> bool:
    """Whether a Responses request that nothing is stored of has custom tools.

    SAP AI Core takes functions only (wire §4.2). On the way through the pivot they become functions, and
    their calls custom ones again: Codex would lose its patches otherwise.
    """
    tools = body.get("tools", ABSENT)
    if b'"custom"' not in bytes(tools) or read(body, "store", bool) is not False:
        return False
    return any(read(tool, "type", str) == "custom" for tool in read(body, "tools", list[Fields]) or ())


def _wants_schema(body: Fields) -> bool:
    """Whether a Messages request asks for an answer that fits a schema: older models need help."""
    config = read(body, "output_config", Fields) or {}
    return present(config.get("format", ABSENT)) or present(body.get("output_format", ABSENT))


def _upstream_for(surface: str, conversation: Conversation, facts: ModelFacts) -> Upstream:
    """Return the dialect; GPT models have two, and only Responses keeps their reasoning (wire §8.8)."""
    if facts.dialect != "azure-openai" or RESPONSES not in facts.modes:
        return UPSTREAMS[facts.dialect]
    reasons = conversation.reasoning is not None and effort_of(conversation.reasoning) not in ("", "none")
    split = surface == CHAT and not (reasons and facts.tools_with_effort == RESPONSES)
    if CHAT in facts.modes and (split or not conversation.tools):
        return UPSTREAMS["azure-openai"]
    return UPSTREAMS["azure-responses"]


# --- remote pictures and documents ---------------------------------------------------------------------


def inlined(
    conversation: Conversation, fetched: Mapping[str, Inline], *, field: str = "messages"
) -> Conversation:
    """Return the conversation with the fetched data in place of URLs.

    Raises BadRequest for other URLs; `field` is where the caller wrote them.
    """
    if conversation.is_text() or not any(_urls(conversation)):
        return conversation
    turns = tuple(
        Turn(turn.role, tuple(_inlined(block, fetched, field) for block in turn.blocks))
        for turn in conversation.turns
    )
    return msgspec.structs.replace(conversation, turns=turns)


def _urls(conversation: Conversation) -> Iterator[str]:
    return (part.url for part in conversation.parts() if isinstance(part, Image | Document) and part.url)


def _inlined(block: Block, fetched: Mapping[str, Inline], field: str) -> Block:
    if isinstance(block, ToolResult):
        content = tuple(
            cast(Text | Image | Document, _inlined(part, fetched, field)) for part in block.content
        )
        return msgspec.structs.replace(block, content=content)
    if not isinstance(block, Image | Document) or not block.url:
        return block
    data = inline(block.url, fetched, field)
    return msgspec.structs.replace(block, url="", media_type=data.media_type, data=data.data)


# --- there and back ----------------------------------------------------------------------------------


class _Journey:
    """One request on its way through the pivot."""

    def __init__(
        self, caller: Caller, upstream: Upstream, conversation: Conversation, target: Target
    ) -> None:
        self._caller = caller
        self._upstream = upstream
        self._asked = conversation
        adapted, self._originals = renamed(conversation)
        adapted, self._unwraps = emulated(adapted, target.facts)
        self._sent = self._upstream.request(adapted, target)
        identifier, created = target.mint()
        self._info = ReplyInfo(identifier, created, target.public_name, conversation)

    def prepared(self, sent: Sent | None = None) -> Prepared:
        """Return the request; `sent` is another form of it than the first."""
        sent = sent or self._sent
        asked = self._asked
        dropped = asked.dropped
        if sent.dropped:
            dropped = (*dropped, *map(asked.name_of, sent.dropped))
        return Prepared(
            path=sent.path,
            body=sent.body,
            dropped=tuple(dict.fromkeys(dropped)),
            deterministic=deterministic(asked.settings),
            answer=self._answer,
            relay=partial(self._relay, sent) if asked.stream else None,
            amend=partial(self._amended, sent) if sent.amend else None,
        )

    def _amended(self, sent: Sent, error: UpstreamError) -> Prepared | None:
        other = sent.amend(error) if sent.amend else None
        return self.prepared(other) if other else None

    def _answer(self, body: bytes) -> Answer:
        told = self._telling()
        events = told.feed(self._upstream.answer(body, self._info))
        told.end()
        return Answer(
            body=self._caller.render(events, self._info), usage=told.usage, finish_reason=told.finish_reason
        )

    def _relay(self, sent: Sent) -> Relay:
        writer = self._caller.writer(self._info)
        if sent.whole:
            return _Replay(lambda body: self._upstream.answer(body, self._info), writer, self._telling())
        return Translation(self._upstream.reader(self._info), writer, self._telling())

    def _telling(self) -> Telling:
        return Telling(self._originals, Unwrapping() if self._unwraps else None)


class Telling:
    """Puts an answer's events right, and notes what the log wants to know of them.

    Tool names become the caller's again; calls make the finish reason `tool_calls`, whatever the upstream
    says (wire §8.0).
    """

    def __init__(self, originals: Mapping[str, str], unwrapping: Unwrapping | None = None) -> None:
        self.usage: Usage | None = None
        self.finish_reason = ""
        self._originals = originals
        self._unwrapping = unwrapping
        self._called = False

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Return the events as the caller gets them."""
        if self._unwrapping is not None:
            events = self._unwrapping.feed(events)
        elif len(events) == 1 and type(events[0]) is TextPiece:  # nearly all there is
            return events
        told = []
        for event in events:
            note = self._NOTES.get(type(event))
            told.append(event if note is None else note(self, event))
        return told

    def end(self) -> None:
        """Raise UpstreamBroken when no finish reason was seen."""
        if not self.finish_reason:
            raise UpstreamBroken("the upstream's answer ended before its finish reason")

    def _tool(self, event: ToolOpened) -> ToolOpened:
        self._called = True
        if event.name in self._originals:
            return msgspec.structs.replace(event, name=self._originals[event.name])
        return event

    def _counted(self, event: Counted) -> Counted:
        self.usage = event.tokens.usage()
        return event

    def _stopped(self, event: Stopped) -> Stopped:
        if self._called and event.reason == "stop":
            event = Stopped("tool_calls")
        self.finish_reason = event.reason
        return event

    _NOTES: ClassVar[Mapping[type[Event], Callable[[Any, Any], Event]]] = {
        ToolOpened: _tool,
        Counted: _counted,
        Stopped: _stopped,
    }


_METADATA = (Started, ToolOpened, Counted)
"""Events that are no content."""


class _Told:
    """A stream as the caller gets it, whether its answer comes in frames or whole."""

    def __init__(self, writer: Writer, telling: Telling) -> None:
        self._writer = writer
        self._telling = telling

    @property
    def usage(self) -> Usage | None:
        """Tokens, as far as they are known."""
        return self._telling.usage

    @property
    def finish_reason(self) -> str:
        """Why the model stopped; empty before."""
        return self._telling.finish_reason

    def fail(self, error: GatewayError) -> bytes:
        """Return the end of a stream that cannot be completed."""
        return self._writer.fail(error)

    def _written(self, events: Sequence[Event]) -> bytes:
        feed = self._writer.feed
        return feed(events[0]) if len(events) == 1 else b"".join([feed(event) for event in events])

    def _end(self) -> bytes:
        self._telling.end()
        return self._writer.close()


class Translation(_Told, FrameRelay):
    """One stream on its way from an upstream's dialect to a caller's."""

    def __init__(self, reader: Reader, writer: Writer, telling: Telling) -> None:
        _Told.__init__(self, writer, telling)
        FrameRelay.__init__(self)
        self._reader = reader

    def close(self) -> bytes:
        """Return the stream's end. Raises UpstreamBroken when no finish reason was seen."""
        rest = self._rest()
        return rest + self._taken(self._reader.close()) + self._end()

    def _frame(self, data: bytes) -> bytes:
        if self.done:
            return b""
        events = self._reader.feed(data)
        self.done = self._reader.done
        return self._taken(events)

    def _taken(self, events: Sequence[Event]) -> bytes:
        events = self._telling.feed(events)
        if not self.began:
            self.began = any(not isinstance(event, _METADATA) for event in events)
        return self._written(events)


class _Replay(_Told):
    """A stream for the caller from an answer that comes whole: nothing before its end."""

    def __init__(self, answer: Callable[[bytes], Sequence[Event]], writer: Writer, telling: Telling) -> None:
        super().__init__(writer, telling)
        self.began = False
        self.done = False
        self.failure: UpstreamError | None = None
        self._answer = answer
        self._body = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """Keep a piece of the answer. Raises UpstreamBroken for one without end."""
        self._body += chunk
        if len(self._body) > MAX_WHOLE_BYTES:
            raise UpstreamBroken(f"the upstream's answer exceeds {MAX_WHOLE_BYTES} bytes")
        return b""

    def close(self) -> bytes:
        """Return the whole stream. Raises UpstreamError."""
        written = self._written(self._telling.feed(self._answer(bytes(self._body))))
        end = self._end()
        self.began = True
        return written + end
