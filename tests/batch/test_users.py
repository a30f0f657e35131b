"""The file of users: what a row may say, and the line of what is wrong."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.batch.users import BatchUser, check_users_file, read_users
from genrec_edge.errors import UsageError
from genrec_edge.options import Request
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from pathlib import Path

BAD: list[tuple[str, str]] = [
    ('{"user": 1}\n{"user": "1"}\n', "the user '1' is in line 1 and in line 2"),
    ('{"user": 1}\n\n{"user": 1}\n', "the user 1 is in line 1 and in line 3"),
    ('{"user": 1, "histroy": []}\n', "line 1 has the unknown field 'histroy'"),
    ('{"user": 1, "decode": "free"}\n', "line 1 has the unknown field 'decode'"),
    ('{"history": []}\n', "line 1: user is None"),
    ('{"user": true}\n', "line 1: user is True"),
    ('{"user": 1.5}\n', "line 1: user is 1.5"),
    ('{"user": 9223372036854775808}\n', "more than 64 bits"),
    ('{"user": 1}\n[]\n', "line 2 is \\[\\], not an object"),
    ("{", "line 1 is not JSON"),
    ('{"user": 1}\n{"user": 2, "k": 3, "k": 5}\n', "line 2: the key 'k' stands twice in one object"),
    ('{"user": 1, "bias": {"004": 1, "004": 2}}\n', "line 1: the key '004' stands twice in one object"),
    ("", "has no users"),
    ('{"user": 1, "history": "Alien"}\n', "line 1: history is 'Alien'"),
    ('{"user": 1, "history": ["Alien", 7]}\n', "line 1: history, entry 2 is 7"),
    ('{"user": 1, "history": [{"rating": 7}]}\n', "line 1: history, entry 1 has neither a title nor an id"),
    ('{"user": 1, "k": "3"}\n', "line 1: k is '3'"),
    ('{"user": 1, "k": true}\n', "line 1: k is True"),
    ('{"user": 1, "exclude": "Alien"}\n', "line 1: exclude is 'Alien'"),
    ('{"user": 1, "bias": {"004": "high"}}\n', "line 1: bias.004 is 'high'"),
    ('{"user": 1, "context": ["evening"]}\n', "line 1: context is \\['evening'\\]"),
    ('{"user": 1, "intent_where": 1}\n', "line 1: intent_where is 1"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_wrong_file_is_refused_and_its_line_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        check_users_file(path, Request())
    assert "\n" not in raised.value.message + raised.value.hint
    assert raised.value.hint


def test_what_a_row_says_goes_before_what_all_are_asked(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl.gz"
    row: dict[str, Any] = {"user": -7, "k": 2, "history": ["Alien", {"id": 4, "rating": 3}], "context": {"when": "now"}}
    path.write_bytes(gzip.compress(f"{json.dumps(row)}\n{json.dumps({'user': 8, 'k': None})}\n".encode()))
    common = Request(k=7, where="year > 1980", intent_where=False)
    found = check_users_file(path, common)
    assert (found.n_users, found.are_numbers) == (2, True)
    first, second = read_users(path, common)
    history = (Interaction("Alien"), Interaction(id="4", rating=3.0))
    expected = Request(history, k=2, where="year > 1980", intent_where=False, context={"when": "now"})
    assert (first, second) == (BatchUser(-7, expected), BatchUser(8, common))


def test_histories_are_read_as_from_a_file_and_what_is_not_used_is_said(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    entry = {"title": "Heat", "year": 1995, "timestamp": "2024-01-31T20:15:00Z", "rating": "5", "mood": "dark"}
    path.write_text("".join(json.dumps({"user": user, "history": [entry]}) + "\n" for user in range(5)))
    users = list(read_users(path, Request()))
    assert users[4].request.history == (Interaction("Heat", None, 1706732100.0, 5.0, 1995),)
    notes = check_users_file(path, Request()).notes
    assert notes[0] == f"{path}, line 1: history: not used: 'mood' (1)"
    assert notes[3:] == (f"{path}: and so of 2 more histories",)


@pytest.mark.parametrize("name", ["users.jsonl.gz", "users.parquet", "users.csv", "missing.jsonl"])
def test_a_file_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b'{"user": 1}\n')
    with pytest.raises(UsageError, match=name):
        check_users_file(tmp_path / name, Request())


@pytest.mark.parametrize("name", ["bomb.jsonl", "bomb.jsonl.gz"])
def test_a_line_without_end_is_refused_before_it_takes_all_memory(tmp_path: Path, name: str) -> None:
    """As a file of gigabytes, which gzip makes a few megabytes of."""
    path = tmp_path / name
    with gzip.open(path, "wb") if name.endswith(".gz") else path.open("wb") as file:
        file.write(b'{"user": 1}\n{"user": "')
        for _ in range(64):
            file.write(b"x" * (1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=rf"{name}, line 2 has more than 8,388,608 bytes"):
            check_users_file(path, Request())
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_pipe_of_users_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)  # reading it would wait for a writer, and give nothing the second time
    with pytest.raises(UsageError, match=r"pipe\.jsonl is not a file"):
        check_users_file(path, Request())
