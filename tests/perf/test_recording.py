"""The recording format."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf.recording import Recording, RecordingError, decode_line

GOOD = '{"at": 1.5, "path": "/v1/models", "method": "GET"}\n'


def recording(tmp_path: Path, text: str) -> Recording:
    """A recording with this text."""
    path = tmp_path / "traffic.jsonl"
    path.write_text(text, encoding="utf-8")
    return Recording(path)


def test_requests_come_in_order_of_arrival(tmp_path: Path) -> None:
    """The recorder writes them in the order in which they finished."""
    lines = "".join(f'{{"at": {at}, "path": "/v1/models"}}\n' for at in (3, 1, 2))

    assert [line.at for line in recording(tmp_path, lines).read()] == [1, 2, 3]


def test_a_part_can_be_read(tmp_path: Path) -> None:
    """From a request on, and not too many."""
    lines = "".join(f'{{"at": {at}, "path": "/v1/models"}}\n' for at in range(10))

    assert [line.at for line in recording(tmp_path, lines).read(start=4, limit=2)] == [4, 5]


def test_unknown_keys_and_empty_lines_are_tolerated(tmp_path: Path) -> None:
    """A newer recorder may say more."""
    assert len(recording(tmp_path, '\n{"at": 0, "path": "/x", "new": [1]}\n\n' + GOOD)) == 2


def test_a_last_line_cut_short_is_left_out(tmp_path: Path) -> None:
    """That is what a crash leaves behind."""
    cut = recording(tmp_path, GOOD + GOOD[:20])

    assert (len(cut), cut.cut_short) == (1, True)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{broken}", "malformed"),
        ('{"path": "/x"}', "at"),
        ('{"at": -1, "path": "/x"}', "`at`"),
        ('{"at": 0, "path": "x"}', "`path`"),
        ('{"at": 0, "path": "/x", "status": "ok"}', "status"),
        ('{"at": 0, "path": "/x", "body_bytes": -1}', "`body_bytes`"),
        ('{"at": 0, "path": "/x", "headers": {"x-team": "a\\r\\nevil: 1"}}', "line breaks"),
        ('{"at": 0, "path": "/\\u20ac"}', "Latin-1"),
        ('{"at": 0, "path": "/x", "headers": {"Authorization": "Bearer k"}}', "credential"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    """With its number and what is wrong with it."""
    with pytest.raises(RecordingError, match=f"traffic.jsonl:2: .*{reason}"):
        recording(tmp_path, GOOD + line + "\n" + GOOD)


def test_a_missing_file_is_an_error_of_the_recording(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(RecordingError, match="No such file"):
        Recording(tmp_path / "none.jsonl")


def test_everything_the_format_names_is_read() -> None:
    """Each field of the description."""
    line = decode_line(
        b'{"at":12.345,"method":"POST","path":"/v1/chat/completions","headers":{"content-type":"application/json"},'
        b'"body":{"model":"m"},"body_bytes":1834,"stream":true,"model":"gpt-5","status":200,"first_byte_ms":412.0,'
        b'"total_ms":2210.5,"prompt_tokens":402,"completion_tokens":187}'
    )

    assert (line.body, line.stream, line.first_byte_ms, line.completion_tokens) == (
        {"model": "m"},
        True,
        412.0,
        187,
    )
