"""Repeated events, against plain Python over the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.datasets.events import EventOptions, Events, without_repeats
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import leave_one_out
from genrec_edge.errors import UsageError
from tests.support.interactions import make

if TYPE_CHECKING:
    from pathlib import Path

import numpy as np

DOUBLE = "1,a,10 1,b,20 1,c,30 1,d,40 1,d,40 2,b,10 2,c,20 2,a,30 2,d,40 2,d,40"
ITEMS = "id,title\na,A\nb,B\nc,C\nd,D\n"


def events_of(rows: list[tuple[int, int, int]]) -> Events:
    users, items, times = zip(*rows, strict=True)
    ids = tuple(str(user) for user in range(4))
    return Events(
        ids,
        np.array(users, np.int32),
        np.array(items, np.int32),
        np.array(times, float),
        np.zeros(len(rows), np.float32),
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=40))
def test_the_first_event_with_each_item_is_kept_in_any_arrangement(rows: list[tuple[int, int, int]]) -> None:
    first: dict[tuple[int, int], tuple[int, int]] = {}
    for place, (user, item, time) in enumerate(rows):
        first[user, item] = min(first.get((user, item), (time, place)), (time, place))
    kept = [row for place, row in enumerate(rows) if first[row[0], row[1]] == (row[2], place)]
    events = without_repeats(events_of(rows), "drop")
    assert list(zip(events.users, events.items, events.timestamps, strict=True)) == kept
    assert events.n_left_out == len(rows) - len(kept)
    assert bool(events.notes) == (len(kept) < len(rows))
    same = without_repeats(events_of(rows), "keep")
    n_doubled = len(rows) - len(set(rows))
    assert len(same.users) == len(rows)
    assert [note.split()[1] for note in same.notes] == ([str(n_doubled)] if n_doubled else [])


@pytest.mark.parametrize("times", ["as given", "later"])
def test_a_last_event_given_twice_is_what_the_message_says_and_dropping_helps(tmp_path: Path, times: str) -> None:
    rows = DOUBLE.split()
    if times == "later":
        rows = [row if i % 5 < 4 else row.replace("40", "50") for i, row in enumerate(rows)]
    text = "user,item,timestamp\n" + "\n".join(rows)
    with pytest.raises(UsageError) as caught:
        leave_one_out(load(make(tmp_path, text, ITEMS)), "file")
    assert caught.value.message == (
        "no user of made has a test target (leave-one-out): 2 had met the item of their test event before"
    )
    assert "data import --repeats drop" in caught.value.hint
    dropped = load(make(tmp_path, text, ITEMS, force=True, options=EventOptions(repeats="drop")))
    assert leave_one_out(dropped, "file").test.tolist() == [3, 3]


def test_users_without_a_target_are_counted_by_their_reason(tmp_path: Path) -> None:
    text = "user,item,timestamp\n1,a,1\n1,b,2\n2,a,1\n2,b,2\n2,a,3\n3,a,1\n"
    with pytest.raises(UsageError, match="2 have too few events, 1 had met the item of their test event before"):
        leave_one_out(load(make(tmp_path, text, ITEMS)), "file")
    some = leave_one_out(load(make(tmp_path, f"{text}4,a,1\n4,b,2\n4,c,3\n", ITEMS, force=True)), "file")
    assert (len(some.users), some.n_without("test"), some.n_without("validation")) == (1, 3, 2)
    with pytest.raises(UsageError, match=r"1 have too few events$") as caught:
        leave_one_out(load(make(tmp_path, "user,item,timestamp\n1,a,1\n", ITEMS, force=True)), "file")
    assert caught.value.hint == "use data with longer histories"
