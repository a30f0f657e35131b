"""Reading tables as interactions: columns, dates and invalid rows."""

from __future__ import annotations

import json
import random
import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.datasets.event_columns import EventColumns
from genrec_edge.datasets.event_reader import read_events
from genrec_edge.datasets.events import EventOptions
from genrec_edge.datasets.folder import Dataset, load
from genrec_edge.datasets.importer import ColumnNames
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import sha256_file
from genrec_edge.storage.tables import open_source
from tests.support.interactions import ITEMS, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_columns_are_guessed_or_named_and_dates_are_read(tmp_path: Path) -> None:
    events = "who\tMovie ID\tDate\trating\n1\tb\t1970-01-02\t3\n1\ta\t1970-01-01T01:00:00+01:00\t\n2\ta\t1e3\t0.5\n"
    with pytest.raises(UsageError, match="no column looks like the user; the columns are: who, Movie ID") as caught:
        make(tmp_path, events)
    assert caught.value.hint == "name the column with `user`"
    with pytest.raises(UsageError, match="no column 'nobody', no column 'when'"):
        make(tmp_path, events, columns=ColumnNames(user="nobody", timestamp="when"))
    dataset = load(make(tmp_path, events, columns=ColumnNames(user="WHO")))
    assert dataset.user_ids == ("1", "2")
    assert dataset.timestamps.tolist() == [86_400, 0, 1000]
    assert dataset.titles == (("Alien", 1979), ("Brazil", None))
    assert dataset.card["source"]["files"][0]["sha256"] == sha256_file(tmp_path / "events.csv")


def test_every_bad_event_is_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    bad = ["x,zz,1,", "x,c,1,", "x,a,yesterday,", "x,a,,", ",a,1,", "x,a,1,good", "x,a,nan,", "x,a,1_0,", "x,,1,"]
    text = "user,item,timestamp,rating\n" + "".join(f"x,a,1,2\n{row}\n" for row in bad)
    with pytest.raises(UsageError) as caught:
        make(tmp_path, text)
    assert caught.value.message == (
        f"{tmp_path / 'events.csv'}: 9 events cannot be used: line 3: unknown item 'zz'; line 5: unknown item 'c'; "
        "line 7: timestamp 'yesterday'; line 9: no timestamp; line 11: no user; and 4 more"
    )
    for row, what in [
        ("x,a,1,good", "rating 'good'"),
        ("x,a,inf,", "timestamp 'inf'"),
        ("x,a,1_0,", "timestamp '1_0'"),
        ("x,,1,", "no item"),
        ("x,a,1,1e300", "rating '1e300'"),
        ("x", "no item"),
        (f"x,{'y' * 5000},1,", "unknown item 'yyyyyyyyyyyy...yyyyyyyyyyyyy'"),
        ("x,a,0001-01-01T00:00+23:59,", ""),
    ]:
        if not what:  # the first day of all is a day
            assert load(make(tmp_path, f"user,item,timestamp,rating\n{row}\n")).n_events == 1
            continue
        with pytest.raises(UsageError, match="1 event cannot be used: line 2: ") as caught:
            make(tmp_path, f"user,item,timestamp,rating\n{row}\n")
        assert caught.value.message.endswith(what)
    assert {path.name for path in tmp_path.iterdir()} <= {"events.csv", "items.csv", "made", "home"}


def read(folder: Path, events: str, items: str = ITEMS, **options: Any) -> tuple[Dataset, list[str]]:
    """Import events, and return the data set and what was said."""
    notes: list[str] = []
    path = make(folder, events, items, force=True, on_note=notes.append, options=EventOptions(**options))
    return load(path), [note for note in notes if "without a title" not in note]


def test_times_of_all_units_and_dates_in_one_file_are_one_order(tmp_path: Path) -> None:
    moments = [1_600_000_000 + 1000 * i for i in range(12)]
    written: list[Callable[[int], str]] = [
        str,
        lambda t: str(t * 1000),
        lambda t: str(t * 10**6),
        lambda t: str(t * 10**9),
        lambda t: datetime.fromtimestamp(t, UTC).isoformat(),
        lambda t: datetime.fromtimestamp(t, UTC).strftime("%d.%m.%Y %H:%M:%S"),
    ]
    rows = [f"x,a,{written[i % 6](moment)}" for i, moment in enumerate(moments)]
    random.Random(0).shuffle(rows)
    dataset, notes = read(tmp_path, "user,item,timestamp\n" + "\n".join(rows))
    assert sorted(dataset.timestamps.tolist()) == pytest.approx(moments)
    assert notes[0] == ("the times are read as 2 in seconds, 2 in milliseconds, 2 in microseconds, 2 in nanoseconds")


def test_times_of_no_clear_unit_are_refused_with_the_first_line(tmp_path: Path) -> None:
    events = "user,item,timestamp\nx,a,1600000010000\nx,b,1600000020\ny,a,99999999999\n"
    with pytest.raises(
        UsageError, match=r"1 times are of no clear unit .*: 99999999999; the first in line 4"
    ) as caught:
        read(tmp_path, events)
    assert "`time_unit`" in caught.value.hint
    assert read(tmp_path, events, time_unit="ms")[0].timestamps.tolist() == [1600000010, 1600000.02, 99999999.999]
    with pytest.raises(UsageError, match="`time_unit` must be one of auto, s, ms, us, ns, got 'h'"):
        read(tmp_path, events, time_unit="h")


@pytest.mark.parametrize("order", range(3))
def test_one_id_written_in_three_ways_is_one_user_and_one_item(tmp_path: Path, order: int) -> None:
    ids: list[Any] = [7, 7.0, "7"]
    ids = ids[order:] + ids[:order]
    rows = [{"user": one, "item": one, "timestamp": i} for i, one in enumerate(ids)]
    for item_id in ("7", "7.0"):
        items = f"id,title\n{item_id},Alien\n8,Ran\n"
        dataset, notes = read(tmp_path, "\n".join(map(json.dumps, rows)), items)
        assert dataset.user_ids == ("7",)
        assert dataset.items.tolist() == [0, 0, 0]
        assert notes == ["user ids with decimals are read as whole numbers, 7.0 as 7, in 1 event"]


def test_ids_that_differ_in_more_than_decimals_stay_apart(tmp_path: Path) -> None:
    items = "id,title\n7,Alien\n7.0,Ran\n07,Heat\n"
    rows = [(user, item) for user, item in [("1", "7"), ("01", "7.0"), ("1.5", "07"), ("1.50", "7"), ("v1.0", "7")]]
    dataset, notes = read(tmp_path, "user,item,timestamp\n" + "".join(f"{u},{i},1\n" for u, i in rows), items)
    assert dataset.user_ids == ("1", "01", "1.5", "1.50", "v1.0")
    assert dataset.items.tolist() == [0, 1, 2, 0, 0]
    assert notes == []


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"user": True, "item": "a", "timestamp": 1}, "user True"),
        ({"user": [1], "item": "a", "timestamp": 1}, "user [1]"),
        ({"user": float("nan"), "item": "a", "timestamp": 1}, "no user"),
        ({"user": 1, "item": {"id": "a"}, "timestamp": 1}, "item {'id': 'a'}"),
        ({"user": 1, "item": "a", "timestamp": "1/5/2024"}, "timestamp '1/5/2024'"),
        ({"user": 1, "item": "a", "timestamp": 1, "rating": "4/5"}, "rating '4/5'"),
    ],
)
def test_a_cell_that_is_none_of_these_is_named(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, json.dumps(row))
    assert caught.value.message.endswith(f"line 1: {what}")


def test_ratings_may_be_text_and_missing(tmp_path: Path) -> None:
    cells: list[Any] = ["5", "4,5", 3, "", None, float("nan")]
    rows = [{"user": 1, "item": "a", "timestamp": i, "rating": cell} for i, cell in enumerate(cells)]
    dataset, _ = read(tmp_path, "\n".join(map(json.dumps, rows)))
    assert [str(rating) for rating in dataset.ratings.tolist()] == ["5.0", "4.5", "3.0", "nan", "nan", "nan"]


def test_events_of_items_without_a_title_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    events = "user,item,timestamp\nx,a,1\nx,c,2\ny,c,3\ny,zz,4\ny,b,5\n"
    with pytest.raises(UsageError, match="3 events cannot be used: line 3: unknown item 'c'") as caught:
        read(tmp_path, events)
    assert "`skip_unknown`" in caught.value.hint
    dataset, notes = read(tmp_path, events, skip_unknown=True)
    assert dataset.items.tolist() == [0, 1]
    assert dataset.card["interactions"]["left_out"] == 3
    assert notes == ["left out: 3 events of 2 items not in the item table: 'c', 'zz'"]
    with pytest.raises(UsageError, match="1 event cannot be used: line 3: no item"):
        read(tmp_path, "user,item,timestamp\nx,a,1\nx,,2\n", skip_unknown=True)
    with pytest.raises(UsageError, match="none of 1 event has an item of the item table"):
        read(tmp_path, "user,item,timestamp\nx,c,1\n", skip_unknown=True)


def test_what_was_decided_about_the_items_is_said(tmp_path: Path) -> None:
    notes: list[str] = []
    items = 'id,title,price\na,Alien,"1.234,5"\nb,Brazil,"2,5"\n'
    make(tmp_path, items=items, on_note=notes.append)
    assert notes == [f"{tmp_path / 'items.csv'}: price: numbers with ',' before decimals, '.' between thousands"]


def test_rows_without_a_title_and_columns_that_are_not_used_are_said(tmp_path: Path) -> None:
    notes: list[str] = []
    make(tmp_path, "user,item,timestamp,device\nx,a,1,tv\n", on_note=notes.append)
    assert notes == [
        f"{tmp_path / 'items.csv'}: left out: 1 row without a title",
        f"{tmp_path / 'events.csv'}: columns not used: device",
    ]


def test_reading_takes_bytes_by_the_event(ml_100k: Path) -> None:
    """20 bytes of arrays each, some room to grow, and the names of the users; as Python objects it would be 400."""
    source, index = open_source(ml_100k / "interactions.csv"), {str(i): i for i in range(1, 1683)}
    tracemalloc.start()
    try:
        events = read_events(source, EventColumns(0, 1, 2, 3), index, EventOptions(is_ours=True))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(events.users) == 100_000
    assert peak < 4e6


def test_user_ids_with_characters_that_nobody_sees_are_said(tmp_path: Path) -> None:
    notes: list[str] = []
    events = "user,item,timestamp\nu1,a,1\nu\u200b1,a,2\n"
    dataset = load(make(tmp_path, events, on_note=notes.append))
    assert dataset.user_ids == ("u1", "u\u200b1")
    assert [note for note in notes if "invisible" in note] == [
        "user ids: 1 id holds invisible characters, which are kept, the first 'u\\u200b1'",
        "user ids: only invisible characters tell 'u1' and 'u\\u200b1' apart",
    ]
