"""Logs of answers: those of another evaluation and damaged ones are refused."""

from __future__ import annotations

import json
import os
import random
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from genrec_edge.errors import LockedError, UsageError
from genrec_edge.evaluation.answer_log import LoggedAnswer, open_answer_log
from genrec_edge.evaluation.runner import evaluate
from tests.support.evaluation import FIRST, SPLIT, Scripted
from tests.support.faults import flipped_bit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def refused(tmp_path: Path, message: str) -> Iterator[Path]:
    """Make a file of answers for the block to change, and expect that it is refused and left alone."""
    evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    yield path
    before = path.read_bytes()
    with pytest.raises(UsageError, match=message) as raised:
        evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    assert str(path) in raised.value.message
    assert "\n" not in raised.value.message
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"target": "validation"}, "protocol.target differ"),
        ({"candidates": 3}, "protocol.candidates, protocol.seed differ"),
    ],
)
def test_answers_of_another_protocol_are_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    with pytest.raises(UsageError, match=named):
        evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path, **change)


def test_answers_of_another_split_or_system_are_refused(tmp_path: Path) -> None:
    evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    with pytest.raises(UsageError, match=r"split\.sha256, split\.ties differ"):
        evaluate(
            replace(SPLIT, ties="item", about={**SPLIT.about, "sha256": "1"}),
            [Scripted("same", FIRST._answers)],
            resume=tmp_path,
        )
    other = Scripted("same", FIRST._answers)
    other.about = {"kind": "scripted", "adapter": "x"}
    with pytest.raises(UsageError, match=r"system\.adapter differ"):
        evaluate(SPLIT, [other], resume=tmp_path)


LINE: dict[str, Any] = {
    "user": 0,
    "rank": 1.0,
    "items": [1],
    "exact": True,
    "tokens": 1,
    "texts": 0,
    "invalid": 0,
    "repeated": 0,
    "seconds": 0.1,
    "wall_s": 0.1,
    "peak_mib": None,
}


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 0.5},
        {"rank": "1"},
        {"user": -1},
        {"user": True},
        {"items": [1.5]},
        {"items": 3},
        {"exact": 1},
        {"tokens": 1 << 40},
        {"seconds": -1},
        {"more": 1},
    ],
)
def test_a_line_that_is_no_answer_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with refused(tmp_path, "line 6 of .* is not what an evaluation writes") as path, path.open("a") as file:
        file.write(json.dumps({**LINE, **change}) + "\n")


@pytest.mark.parametrize("content", [b"hello\n", b"hello", b"[]\n", b"{}\n", b"[" * 100_000 + b"\n", b"x" * (1 << 21)])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    with refused(tmp_path, "line 1 of .* is not what an evaluation writes") as path:
        path.write_bytes(content)


def test_the_line_of_these_tests_is_an_answer(tmp_path: Path) -> None:
    evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    with path.open("a") as file:
        file.write(json.dumps(LINE) + "\n")
    again = Scripted("same", FIRST._answers)
    evaluate(SPLIT, [again], resume=tmp_path)
    assert again.asked == []


def test_each_flipped_bit_of_an_answer_is_noticed(tmp_path: Path, trials: Callable[[int, int], int]) -> None:
    with open_answer_log(tmp_path / "log.jsonl", {"split": "x"}) as (_, add):
        for user in range(3):
            add(LoggedAnswer(**{**LINE, "user": user, "items": (1, 20 + user)}))
    with open_answer_log(tmp_path / "log.jsonl", {"split": "x"}) as (expected, _):
        assert len(expected) == 3
    whole = (tmp_path / "log.jsonl").read_bytes()
    n_noticed = 0
    for seed in range(trials(60, 2_000)):
        with flipped_bit(tmp_path / "log.jsonl", random.Random(seed)) as bit:
            try:
                with open_answer_log(tmp_path / "log.jsonl", {"split": "x"}) as (found, _):
                    assert all(found[user] == expected[user] for user in found), bit  # the last may be cut off
            except UsageError:
                n_noticed += 1
        assert (tmp_path / "log.jsonl").read_bytes() == whole
    assert n_noticed > 40


def test_a_pipe_is_no_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.jsonl")
    with pytest.raises(UsageError, match="not what an evaluation writes"), open_answer_log(tmp_path / "log.jsonl", {}):
        pass


def test_two_evaluations_do_not_write_into_one_file(tmp_path: Path) -> None:
    evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    with (
        FileLock(path.with_name(f".{path.name}.lock")),
        pytest.raises(LockedError, match="is being written by another process"),
    ):
        evaluate(SPLIT, [Scripted("same", FIRST._answers)], resume=tmp_path)
