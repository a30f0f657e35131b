"""Reading tables as interactions: columns, dates and invalid rows."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from genrec_edge.datasets.events import EventColumns, read_events
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.importer import ColumnNames
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import sha256_file
from genrec_edge.storage.tables import open_source
from tests.support.interactions import make

if TYPE_CHECKING:
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


def test_reading_takes_bytes_by_the_event(ml_100k: Path) -> None:
    """20 bytes of arrays each, some room to grow, and the names of the users; as Python objects it would be 400."""
    source, index = open_source(ml_100k / "interactions.csv"), {str(i): i for i in range(1, 1683)}
    tracemalloc.start()
    try:
        events = read_events(source, EventColumns(0, 1, 2, 3), index)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(events.users) == 100_000
    assert peak < 4e6
