"""Making data sets from files, good and bad."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrec_edge.catalog.item_ids import plain_id
from genrec_edge.datasets.events import EventOptions
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files
from genrec_edge.errors import CatalogError, GenRecError, LockedError, UsageError
from genrec_edge.storage.cells import scalar
from genrec_edge.storage.folders import partial_folder
from tests.support.interactions import ABOUT, EVENTS, ITEMS, make, no_event

# Ids that text formats trip over; a catalog strips their ends and knows neither lone surrogates nor controls.
_IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda text: scalar(text) == text and plain_id(text) == text
)


_ROWS = st.lists(
    st.tuples(
        _IDS,
        st.integers(0, 2),
        st.one_of(st.integers(-(10**12), 10**12), st.floats(-1e12, 1e12)),
        st.one_of(st.none(), st.integers(-5, 100), st.floats(-100, 100, width=32)),
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.slow
@settings(max_examples=60)
@given(rows=_ROWS, item_ids=st.lists(_IDS, min_size=3, max_size=3, unique=True), as_json=st.booleans())
def test_what_goes_in_comes_out(
    rows: list[tuple[str, int, float, float | None]], item_ids: list[str], as_json: bool
) -> None:
    cells = [(user, item_ids[item], time, rating) for user, item, time, rating in rows]
    if as_json:
        text = "\n".join(json.dumps(dict(zip(("uid", "asin", "time", "stars"), row, strict=True))) for row in cells)
    else:
        table = io.StringIO(newline="")
        csv.writer(table, quoting=csv.QUOTE_ALL).writerows([("uid", "asin", "time", "stars"), *cells])
        text = table.getvalue()
    items = "\n".join(json.dumps({"id": item_id, "title": f"Title {i}"}) for i, item_id in enumerate(item_ids))
    with tempfile.TemporaryDirectory() as name:
        dataset = load(make(Path(name), text, items, options=EventOptions(time_unit="s")))
    assert dataset.item_ids == tuple(item_ids)
    assert [dataset.user_ids[user] for user in dataset.users] == [user for user, *_ in rows]
    assert dataset.items.tolist() == [item for _, item, _, _ in rows]
    assert dataset.timestamps.tolist() == [float(time) for _, _, time, _ in rows]
    ratings = np.array([math.nan if rating is None else rating for *_, rating in rows], np.float32)
    assert np.array_equal(dataset.ratings, ratings, equal_nan=True)


@pytest.mark.parametrize(
    ("events", "items", "options", "error", "message"),
    [
        ("", ITEMS, {}, UsageError, "events.csv is empty"),
        ("user,item,timestamp\n", ITEMS, {}, UsageError, "has no events"),
        (b"user,item,timestamp\n\xff,a,1\n", ITEMS, {}, UsageError, "line 2: not UTF-8"),
        ("user,item,timestamp\nx,a,1,2,3\n", ITEMS, {}, UsageError, "line 2: 5 fields"),
        ('{"user": 1}\n{"user": ', ITEMS, {}, UsageError, "line 2: not valid JSON"),
        (EVENTS, "id\tname\n", {}, CatalogError, "no row of"),
        (EVENTS, "id,title\na,A\na,B\n", {}, UsageError, "has the id 'a', as has"),
        (EVENTS, ITEMS, {"columns": ColumnNames(title="nothing")}, UsageError, "no column 'nothing'"),
        (EVENTS, ITEMS, {"about": DatasetInfo("../up", "", "MIT")}, UsageError, "got '../up'"),
        (EVENTS, ITEMS, {"about": DatasetInfo("made", "", " ")}, UsageError, "needs a `licence`"),
        (EVENTS, ITEMS, {"out": Path("/proc/1/none")}, UsageError, "/proc/1/"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing(
    tmp_path: Path, events: str | bytes, items: str, options: dict[str, Any], error: type[GenRecError], message: str
) -> None:
    with pytest.raises(error) as caught:
        make(tmp_path, events, items, **options)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert {path.name for path in tmp_path.iterdir()} <= {"events.csv", "items.csv", "home"}


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for interactions, items in [("no.csv", "items.csv"), ("events.csv", "no.csv")]:
        make(tmp_path, out=tmp_path / "other", force=True)
        with pytest.raises(UsageError, match="no such file"):
            import_files(
                tmp_path / interactions,
                tmp_path / items,
                tmp_path / "out",
                ABOUT,
                ColumnNames(),
                force=False,
                on_event=no_event,
            )
    assert not (tmp_path / "out").exists()


def test_a_failed_import_keeps_what_was_there(tmp_path: Path) -> None:
    out = make(tmp_path)
    with pytest.raises(UsageError, match="made is a data set already"):
        make(tmp_path)
    with pytest.raises(UsageError, match="unknown item 'z'"):
        make(tmp_path, "user,item,timestamp\nx,z,1\n", force=True)
    assert load(out).n_events == 2
    make(tmp_path, "user,item,timestamp\nx,a,1\n", force=True)
    assert load(out).n_events == 1
    with partial_folder(out, {}), pytest.raises(LockedError):
        make(tmp_path, force=True)
    assert load(out).n_events == 1


def test_a_data_set_is_not_written_over_what_it_is_made_of(tmp_path: Path) -> None:
    out = make(tmp_path)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "link").symlink_to(out)
    for interactions, items in (
        (out / "interactions.csv", tmp_path / "items.csv"),
        (tmp_path / "events.csv", tmp_path / "link" / "interactions.csv"),
    ):
        with pytest.raises(UsageError, match="over what is read"):
            import_files(interactions, items, out, ABOUT, ColumnNames(), force=True, on_event=no_event)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_notes_name_a_pipe_and_not_its_copy(tmp_path: Path) -> None:
    pipe = tmp_path / "items.fifo"
    notes: list[str] = []
    (tmp_path / "events.csv").write_text("user,item,timestamp\nann,1,5\n")
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("id,title\n1,Heat\n2,\n3,\\N\n",))
    writer.start()
    files = (tmp_path / "events.csv", pipe, tmp_path / "made")
    import_files(*files, ABOUT, ColumnNames(), force=False, on_event=no_event, on_note=notes.append)
    writer.join()
    assert notes == [f"{pipe}: left out: 2 rows without a title"]


def test_without_a_folder_it_goes_to_its_place(tmp_path: Path, own_home: Path) -> None:
    assert make(tmp_path, out=None) == own_home / "datasets" / "made"
    assert load("made").n_events == 2
