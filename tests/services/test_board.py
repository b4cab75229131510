"""Counters that all workers of a machine share."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.board import Board, BoardFull


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board"


def test_trap_53_workers_add_up(path: Path) -> None:
    """Trap 53: each writes its own column, all read the sum and the latest."""
    first, second = Board(path), Board(path)
    first.row("a").add(2)
    second.row("a").add(5)

    assert [(7, 5)] * 2 == [(board.row("a").total(), board.row("a").latest()) for board in (first, second)]


def test_counters_may_fall_below_zero_in_one_column(path: Path) -> None:
    """One worker may take what another gives back."""
    first, second = Board(path), Board(path)
    first.row("a").add(1)
    second.row("a").add(-1)

    assert 0 == first.row("a").total()


def test_a_share_can_be_replaced(path: Path) -> None:
    """For deadlines."""
    board = Board(path)
    board.row("a").put(7)
    board.row("a").put(3)

    assert (3, [3]) == (board.row("a").latest(), [cell for cell in board.row("a").shares() if cell])


def test_of_two_that_write_at_once_both_see_it(path: Path) -> None:
    """Whichever column they have; who is the only one is alone."""
    rows = [Board(path).row("a") for _ in range(2)]
    rows[1].put(7)
    before = [row.alone(5) for row in rows]
    rows[0].put(7)

    assert ([False, True], [False, False]) == (before, [row.alone(5) for row in rows])
    assert [True, True] == [row.alone(7) for row in rows]


def test_names_do_not_mix(path: Path) -> None:
    """Every name has a row of its own, the same in every worker, even when the board is nearly full."""
    first, second = Board(path, rows=64), Board(path)
    for number in range(64):
        (first if number % 2 else second).row(f"n{number}").add(number)

    assert list(range(64)) == [first.row(f"n{number}").total() for number in range(64)]


def test_names_past_the_last_row_are_counted_for_this_worker_alone(path: Path) -> None:
    """Nothing is overwritten, nothing fails, and one line says so."""
    first, second = Board(path, rows=2), Board(path)
    with capture_logs() as lines:
        for name in ("a", "b", "c", "d"):
            first.row(name).add(1)
    second.row("c").add(5)

    assert [1, 1, 1, 1] == [first.row(name).total() for name in ("a", "b", "c", "d")]
    assert [1, 1, 5] == [second.row(name).total() for name in ("a", "b", "c")]
    assert [("shared_counters_full", 2)] == [(line["event"], line["rows"]) for line in lines]


def test_one_worker_too_many_is_refused(path: Path) -> None:
    """As long as the others live."""
    boards = [Board(path, columns=2), Board(path)]

    with pytest.raises(BoardFull, match="2 columns"):
        Board(path)
    boards[0].close()
    assert 0 == Board(path).column


def test_a_worker_that_leaves_takes_its_counts_with_it(path: Path) -> None:
    """What it had in flight is over."""
    first, second = Board(path), Board(path)
    first.row("a").add(3)
    second.row("a").add(1)
    first.close()

    assert 1 == second.row("a").total()


def test_a_worker_that_died_is_replaced(path: Path) -> None:
    """Its column is taken over, with its counts at zero."""
    board = Board(path, columns=2)
    process = multiprocessing.get_context("spawn").Process(target=_die_counting, args=(path,))
    process.start()
    process.join(60)
    assert (0, 3) == (process.exitcode, board.row("a").total())

    heir = Board(path)
    assert (1, 0) == (heir.column, heir.row("a").total())


def _die_counting(path: Path) -> None:
    Board(path).row("a").add(3)
    os._exit(0)


def test_a_process_of_another_user_is_alive(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not being allowed to signal it does not make it dead."""
    Board(path, columns=1)

    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    with pytest.raises(BoardFull):
        Board(path)


def test_the_file_keeps_its_size(path: Path) -> None:
    """The first to come decides."""
    Board(path, rows=8, columns=4)
    size = path.stat().st_size
    Board(path, rows=4096, columns=64)

    assert (size, 0o600) == (path.stat().st_size, path.stat().st_mode & 0o777)


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    """With what to do about it."""
    path.write_bytes(b"AICBRD99" + bytes(1000))

    with pytest.raises(ValueError, match="remove the runtime folder"):
        Board(path)


def test_a_private_board_is_nobody_elses() -> None:
    """Without a file, every board is its own."""
    first, second = Board(), Board()
    first.row("a").add(1)
    first.close()

    assert (0, 0) == (first.row("a").total(), second.row("a").total())
