"""Streamed chat answers: passed on frame by frame, the same at every cut."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from services.errors import UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamLimited
from services.translation.replies import Usage
from services.translation.through.chat import ChatRelay, prepare
from tests.services.translation.samples import AZURE, MISTRAL, PUBLIC, body, chunk, frames, sse, target


def relay(*, usage: bool = False, fix: bool = False, model: str = PUBLIC) -> ChatRelay:
    """A relay for one stream."""
    return ChatRelay(model=model, wants_usage=usage, finish_fix=fix)


def relayed(*pieces: bytes, usage: bool = False, fix: bool = False, model: str = PUBLIC) -> bytes:
    """The caller's whole stream."""
    one = relay(usage=usage, fix=fix, model=model)
    return b"".join([one.feed(piece) for piece in pieces]) + one.close()


def through(*upstream: str, usage: bool = False, fix: bool = False, model: str = PUBLIC) -> list[Any]:
    """What the caller reads of these frames."""
    return frames(relayed(sse(*upstream), usage=usage, fix=fix, model=model))


# --- the same at every cut ---

RECORDED = {
    "azure": (sse(*AZURE), False),
    "azure, CRLF": (sse(*AZURE, end="\r\n"), False),
    "azure, CR": (sse(*AZURE, end="\r"), False),
    "mistral": (sse(*MISTRAL), True),
    "no blank line at the end": (sse(*AZURE)[:-2], False),
}


@pytest.mark.parametrize("usage", [True, False])
@pytest.mark.parametrize("name", RECORDED)
def test_trap_11_a_stream_does_not_depend_on_where_its_bytes_are_cut(name: str, usage: bool) -> None:
    """Trap 11: cut at every byte, also inside a character, and byte by byte, the caller gets the same."""
    stream, fix = RECORDED[name]
    whole = relayed(stream, usage=usage, fix=fix)

    for cut in range(len(stream)):
        assert whole == relayed(stream[:cut], stream[cut:], usage=usage, fix=fix)
    assert whole == relayed(*(stream[at : at + 1] for at in range(len(stream))), usage=usage, fix=fix)


@given(st.sampled_from(list(RECORDED)), st.lists(st.integers(0, 2_500), max_size=12), st.booleans())
def test_nor_on_how_many_pieces_there_are(name: str, cuts: list[int], usage: bool) -> None:
    """Any split into any number of pieces."""
    stream, fix = RECORDED[name]
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    pieces = [stream[a:b] for a, b in pairwise(bounds)]
    assert relayed(stream, usage=usage, fix=fix) == relayed(*pieces, usage=usage, fix=fix)


# --- what the caller sees ---


def test_trap_6_and_9_the_metadata_frame_is_merged_into_the_first_real_one() -> None:
    """Traps 6, 9: its empty id never shows; one id, one created and one model for the whole stream."""
    first, *rest = through(*AZURE, usage=True)

    assert json.loads(AZURE[0])["prompt_filter_results"] == first["prompt_filter_results"]
    seen = [(frame["id"], frame["created"], frame["model"]) for frame in [first, *rest[:-1]]]
    assert {("chatcmpl-A1", 1760000000, PUBLIC)} == set(seen)
    assert all("prompt_filter_results" not in frame for frame in rest[:-1])


def test_a_frame_that_has_its_own_filter_results_keeps_them() -> None:
    """The metadata frame does not overwrite them."""
    own = chunk(finish="stop", prompt_filter_results=[{"own": 1}])

    assert [{"own": 1}] == through(AZURE[0], own)[0]["prompt_filter_results"]


def test_content_passes_as_it_is() -> None:
    """Traps 10, 12: a line separator, a prefix inside the text and characters of four bytes."""
    assert "Grüße\u2028data: 😀" == through(*AZURE)[1]["choices"][0]["delta"]["content"]


def test_members_that_nobody_knows_keep_their_bytes() -> None:
    """Spaces, number forms and escapes are the upstream's."""
    choice = '{"delta":{"content":"\\u00e9"},"finish_reason":"stop","new":{ "a" : 1.10 }}'
    odd = '{"choices":[' + choice + '],"model":"up","z":1e2}'

    assert sse(odd.replace('"up"', '"our-model"'), "[DONE]") == relayed(sse(odd))


@pytest.mark.parametrize(
    ("upstream", "public"),
    [
        ('"model":"up"', '"model":"our-model"'),
        ('"model": "up"', '"model": "our-model"'),
        ('"model":"\\u0075p"', '"model":"our-model"'),
        ('"model":"our-model"', '"model":"our-model"'),
        ('"model":""', '"model":""'),
        ('"model":null', '"model":null'),
    ],
)
def test_the_model_has_its_public_name(upstream: str, public: str) -> None:
    """With and without spaces, escaped or not; where there is none, none is made up."""
    frame = '{"choices":[{"delta":{},"finish_reason":"stop"}],' + upstream + "}"

    assert public in relayed(sse(frame)).decode()


def test_a_model_inside_another_object_is_left_alone() -> None:
    """Only the answer's own name changes."""
    frame = '{"choices":[{"delta":{"x":{"model":"up"}},"finish_reason":"stop"}],"model":"up"}'
    [down, _] = through(frame)

    assert ({"model": "up"}, PUBLIC) == (down["choices"][0]["delta"]["x"], down["model"])


def test_a_model_in_the_text_is_left_alone() -> None:
    """Quotes inside a string are escaped."""
    said = {"content": 'say "model":"up"'}

    assert said == through(chunk(delta=said, finish="stop"))[0]["choices"][0]["delta"]


def test_the_name_may_change_on_the_way() -> None:
    """A second snapshot's name is hidden too."""
    both = through(chunk(model="one"), chunk(model="two", finish="stop"))[:2]

    assert [PUBLIC, PUBLIC] == [frame["model"] for frame in both]


def test_frames_without_choices_and_meaning_are_left_out() -> None:
    """Trap 6: an empty frame that names no model is nothing; one that does is passed on."""
    empty = '{"choices":[],"model":"","id":""}'
    named = '{"choices":[],"model":"up","id":"x","new":1}'

    expected = [{"choices": [], "model": PUBLIC, "id": "x", "new": 1}]
    assert expected == through(empty, named, chunk(finish="stop"))[:1]


def test_comments_and_empty_data_are_left_out() -> None:
    """Keep-alives of the upstream end no stream."""
    stream = b": ping\n\ndata:\n\n" + sse(chunk(finish="stop"))

    assert 2 == len(frames(relayed(stream)))


# --- usage ---


def test_trap_8_usage_goes_to_who_asked() -> None:
    """Trap 8: its own frame, with everything in it, after the finish and before the end."""
    *_, finish, usage, done = through(*AZURE, usage=True)

    assert ("stop", [], "[DONE]") == (finish["choices"][0]["finish_reason"], usage["choices"], done)
    assert json.loads(AZURE[4])["usage"] == usage["usage"]


def test_trap_8_and_to_nobody_else() -> None:
    """Trap 8: neither the frame, nor the nulls that are there only because we asked."""
    assert b'"usage"' not in relayed(sse(*AZURE))


def test_usage_is_known_in_any_case() -> None:
    """For the log and the metrics."""
    one = relay()
    one.feed(sse(*AZURE))

    assert (Usage(9, 12, 21), "stop", True) == (one.usage, one.finish_reason, one.done)


def test_usage_on_the_finish_frame_gets_a_frame_of_its_own() -> None:
    """Wire §4.1, §4.6: with the details, once, and off the frame it came on."""
    *chunks, usage, done = through(*MISTRAL, usage=True, fix=True)

    assert json.loads(MISTRAL[2])["usage"] == usage["usage"]
    assert ([], "m1", PUBLIC, "[DONE]") == (usage["choices"], usage["id"], usage["model"], done)
    assert all("usage" not in frame for frame in chunks)


def test_usage_on_the_finish_frame_is_withheld_from_who_did_not_ask() -> None:
    """Trap 8 again."""
    assert b"usage" not in relayed(sse(*MISTRAL), fix=True)


def test_running_usage_is_told_once() -> None:
    """Some deployments count on every chunk: clients that add up would count double."""
    running = [chunk(finish=end, usage={"total_tokens": n}) for n, end in [(1, None), (2, "stop")]]
    down = through(*running, usage=True)

    assert [None, None, {"total_tokens": 2}] == [frame.get("usage") for frame in down[:-1]]


def test_usage_on_both_frames_is_told_once() -> None:
    """The frame of its own is the one that passes."""
    both = (chunk(finish="stop", usage={"total_tokens": 1}), '{"choices":[],"usage":{"total_tokens":2}}')

    assert [None, {"total_tokens": 2}, "[DONE]"] == [
        frame if frame == "[DONE]" else frame.get("usage") for frame in through(*both, usage=True)
    ]


def test_no_usage_is_made_up() -> None:
    """Where the upstream gives none, the caller gets none."""
    assert 2 == len(through(chunk(finish="stop"), usage=True))


# --- choices and finish reasons ---


def test_every_choice_has_to_finish() -> None:
    """With n > 1 the stream is whole when all have their reason."""
    both = [chunk(index=0), chunk(index=1), chunk(index=0, finish="stop")]
    assert 5 == len(through(*both, chunk(index=1, finish="length")))

    with pytest.raises(UpstreamBroken, match="before its finish reason"):
        through(*both)


def test_a_frame_behind_the_finish_does_not_reopen_the_choice() -> None:
    """Some upstreams send a last empty chunk."""
    assert "[DONE]" == through(chunk(finish="stop"), chunk())[-1]


def test_an_empty_finish_reason_is_none() -> None:
    """`""` does not end a choice."""
    with pytest.raises(UpstreamBroken):
        through(chunk(finish=""))


def test_tool_calls_do_not_end_with_stop() -> None:
    """Wire §4.6: put right in the frame and in what the log says; the rest of the frame stays."""
    one = relay(fix=True)
    down = frames(one.feed(sse(*MISTRAL)) + one.close())

    assert ("tool_calls", None) == (
        down[2]["choices"][0]["finish_reason"],
        down[2]["choices"][0]["stop_reason"],
    )
    assert "tool_calls" == one.finish_reason


def test_only_the_choice_with_calls_is_put_right() -> None:
    """With n > 1 the others keep their reason."""
    calls = {"tool_calls": [{"index": 0}]}
    frame = json.loads(chunk(index=0, finish="stop"))
    frame["choices"].append({"index": 1, "delta": calls, "finish_reason": "stop"})
    down = through(json.dumps(frame), fix=True)

    assert ["stop", "tool_calls"] == [choice["finish_reason"] for choice in down[0]["choices"]]


def test_other_deployments_are_believed() -> None:
    """Without the rule nothing is put right."""
    assert "stop" == through(*MISTRAL)[2]["choices"][0]["finish_reason"]


# --- the end ---


@pytest.mark.parametrize("done", [(), ("[DONE]",), ("[DONE]", "[DONE]"), ("[DONE] ",)])
def test_trap_7_there_is_one_done(done: tuple[str, ...]) -> None:
    """Trap 7: exactly one, however many the upstream sends; a stream that has finished may lack it."""
    assert 1 == relayed(sse(*AZURE[:-1], *done)).count(b"[DONE]")


def test_nothing_follows_the_end() -> None:
    """What an upstream says after its end is not passed on."""
    assert 3 == len(through(chunk(), chunk(finish="stop"), "[DONE]", chunk(), "no json"))


@pytest.mark.parametrize("upstream", [(), AZURE[:1], AZURE[:3], (*AZURE[:3], "[DONE]"), ("[DONE]",)])
def test_trap_24_an_end_before_the_finish_is_broken(upstream: tuple[str, ...]) -> None:
    """Traps 23, 24: no success-looking end, not even if the upstream says that it is done."""
    one = relay()
    one.feed(sse(*upstream))

    with pytest.raises(UpstreamBroken, match="before its finish reason"):
        one.close()


@pytest.mark.parametrize("frame", ["{", "null", "[1]", '{"choices":7}', "oops", "[" * 100_000, "\x00"])
def test_a_frame_that_cannot_be_read_is_broken(frame: str) -> None:
    """The caller must learn that something is missing."""
    with pytest.raises(UpstreamBroken, match="cannot be read"):
        relay().feed(sse(frame))


def test_a_frame_cut_by_the_end_is_broken() -> None:
    """Half a frame is no frame."""
    one = relay()
    one.feed(sse(*AZURE[:3])[:-20])

    with pytest.raises(UpstreamBroken):
        one.close()


def test_a_frame_that_is_not_utf_8_is_broken() -> None:
    """Where it has to be looked at."""
    with pytest.raises(UpstreamBroken):
        relay().feed(b'data: {"model":"\xff"}\n\n')


# --- errors ---


@pytest.mark.parametrize("before", [(), AZURE[:1], AZURE[:3]])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ('{"error":{"code":"429","message":"exceeded token rate limit"}}', UpstreamLimited),
        ('{"error":{"message":"boom"},"choices":[]}', UpstreamFailed),
        ('{"error":"boom"}', UpstreamFailed),
    ],
)
def test_trap_14_an_error_frame_is_raised(before: tuple[str, ...], error: str, kind: type) -> None:
    """Trap 14: before and after content, with the upstream's words."""
    one = relay()
    one.feed(sse(*before))

    with pytest.raises(UpstreamError) as caught:
        one.feed(sse(error))
    assert kind is type(caught.value)


def test_a_null_error_is_none() -> None:
    """Some upstreams send the member always."""
    assert 2 == len(through(chunk(finish="stop", error=None)))


def test_a_stream_that_cannot_be_completed_ends_with_one_error_event() -> None:
    """No `[DONE]` follows it."""
    end = relay().fail(UpstreamBroken("detail", public="cut short"))

    assert end.startswith(b'data: {"error":{"message":"cut short"')
    assert (1, b"\n\n") == (end.count(b"data:"), end[-2:])


# --- as prepared ---


@pytest.mark.parametrize(("options", "wanted"), [(None, 0), ({"include_usage": True}, 1)])
def test_a_prepared_request_relays_its_stream(options: Any, wanted: int) -> None:
    """With the public name, the usage that was asked for and the rules of its model."""
    request = prepare(body(stream_options=options), target("mistralai--mistral-small"), stream=True)
    assert request.relay is not None
    one = request.relay()
    stream = one.feed(sse(*MISTRAL)) + one.close()

    assert wanted == stream.count(b'"usage"')
    assert (3 + wanted, 1) == (stream.count(PUBLIC.encode()), stream.count(b'"finish_reason":"tool_calls"'))
