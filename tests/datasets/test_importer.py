"""Making data sets: out of the real package with the real pip, and out of files good and bad."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import tempfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrec_edge.catalog.reader import Catalog
from genrec_edge.coordinates import CatalogRow
from genrec_edge.datasets.events import EventColumns, read_events
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files
from genrec_edge.datasets.intent_phrases import VAGUE_PHRASES
from genrec_edge.datasets.join_facts import matching_film
from genrec_edge.datasets.pull import pull
from genrec_edge.errors import CatalogError, DatasetError, GenRecError, LockedError, OfflineError, UsageError
from genrec_edge.records import Item
from genrec_edge.storage.files import sha256_file
from genrec_edge.storage.folders import partial_folder
from genrec_edge.storage.infer_columns import scalar
from genrec_edge.storage.tables import open_source

ABOUT = DatasetInfo("made", "Made", "CC0-1.0")
ITEMS = "id,title,genre\na,Alien (1979),Horror|Sci-Fi\nb,Brazil,Drama\nc,,\n"
EVENTS = "user,item,timestamp,rating\nx,b,10,4\ny,a,11,\n"


def no_event(_stage: str, _done: int, _total: int) -> None:
    """Nobody looks."""


def make(folder: Path, events: str | bytes = EVENTS, items: str = ITEMS, **options: Any) -> Path:
    """Write both files and import them."""
    interactions = folder / "events.csv"
    interactions.write_bytes(events if isinstance(events, bytes) else events.encode())
    (folder / "items.csv").write_text(items, encoding="utf-8")
    options = {"about": ABOUT, "columns": ColumnNames(), "force": False, "on_event": no_event, **options}
    return import_files(interactions, folder / "items.csv", options.pop("out", folder / "made"), **options)


@pytest.fixture(autouse=True)
def _own_home(own_home: Path) -> None:
    """Locks and data sets go to a temporary folder."""


@pytest.fixture
def index(recbole_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows pip the folder of the wheel and nothing else."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(recbole_wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def bring(out: Path | None, *, offline: bool = False, force: bool = False) -> Path:
    return pull("ml-100k", out, offline=offline, force=force, on_event=no_event)


def test_a_pulled_data_set_says_what_it_is(ml_100k: Path, recbole_wheel: Path) -> None:
    assert {path.name for path in ml_100k.iterdir()} == {"card.json", "catalog.db", "interactions.csv"}
    assert (ml_100k.parent.name, ml_100k.name) == ("datasets", "ml-100k")
    assert {path.name for path in ml_100k.parent.iterdir()} == {"ml-100k"}
    card = json.loads((ml_100k / "card.json").read_text(encoding="utf-8"))
    assert (card["name"], card["licence"]) == ("ml-100k", "LicenseRef-GroupLens")
    assert "no redistribution without permission" in card["terms"]
    assert card["source"]["wheel_sha256"] == sha256_file(recbole_wheel)
    assert [file["bytes"] for file in card["source"]["files"]] == [1_979_230, 66_632]
    path = ml_100k / "interactions.csv"
    counts = {"events": 100_000, "users": 943, "items": 1682, "rated": 100_000}
    assert card["interactions"] == {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
        **counts,
    }
    with Catalog.open(ml_100k / "catalog.db") as catalog:
        assert catalog.meta["licence"] == "LicenseRef-GroupLens"
        assert catalog.list_columns == ("genres", "director", "cast", "country", "language")
        twister = catalog.by_ids(["118"])["118"]
        assert (twister.title, twister.year) == ("Twister", 1996)
        assert twister.columns["director"] == "Jan de Bont"
        assert catalog.n_items == 1682


def test_most_events_are_about_films_with_facts_and_the_others_keep_their_own(ml_100k: Path) -> None:
    dataset = load(ml_100k)
    with Catalog.open(ml_100k / "catalog.db") as catalog:
        items = {item.row: item for item in catalog.items(dataset.rows.tolist())}
        genres = catalog.list_values(list(items), ["genres"])
    known = np.array([items[row].columns["director"] is not None for row in dataset.rows.tolist()])
    assert known[dataset.items].mean() == pytest.approx(0.911, abs=0.001)
    assert len(genres) == 1680  # two are of an unknown genre
    spelled = {genre for values in genres.values() for genre in values}
    assert spelled <= set(VAGUE_PHRASES)  # the genres of the films


def test_a_film_is_the_one_of_its_year_or_the_only_one_near_it() -> None:
    item = Item(CatalogRow(1), "a", "Heat", 1995)
    here, near, far = (Item(CatalogRow(n), str(n), "Heat", year) for n, year in enumerate((1995, 1996, 1986)))
    assert matching_film(item, [far, near, here]) is here
    assert matching_film(item, [far, near]) is near
    assert matching_film(item, [far]) is None
    assert matching_film(item, [near, near]) is None
    assert matching_film(item, []) is None


def test_a_data_set_that_is_there_is_kept_until_it_is_forced(
    ml_100k: Path, recbole_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ml_100k, out := tmp_path / "ml")
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip would find nothing
    assert bring(out, offline=True) == out
    (out / "interactions.csv").write_text("damaged", encoding="utf-8")
    with pytest.raises(OfflineError, match=r"pip could not download recbole==1\.2\.1"):
        bring(out, force=True)
    with pytest.raises(DatasetError, match="has the sha256"):  # still the damaged one
        load(out)
    monkeypatch.setenv("PIP_FIND_LINKS", str(recbole_wheel.parent))
    bring(out, force=True)
    assert load(out).n_events == 100_000
    assert sha256_file(out / "interactions.csv") == sha256_file(ml_100k / "interactions.csv")
    assert {path.name for path in tmp_path.iterdir()} <= {"ml", "home"}


@pytest.mark.usefixtures("index")
def test_pull_refuses_before_it_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown data set 'ml-1m'") as caught:
        pull("ml-1m", None, offline=False, force=False, on_event=no_event)
    assert caught.value.hint == "known data sets: ml-100k"
    with pytest.raises(OfflineError, match="network is forbidden"):
        bring(tmp_path / "out", offline=True)
    monkeypatch.setenv("GENREC_EDGE_OFFLINE", "1")
    with pytest.raises(OfflineError, match="network is forbidden"):
        bring(tmp_path / "out")
    monkeypatch.delenv("GENREC_EDGE_OFFLINE")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("Dear", encoding="utf-8")
    for force in (False, True):
        with pytest.raises(UsageError, match="mine exists and is not a data set"):
            bring(tmp_path / "mine", force=force)
    with pytest.raises(UsageError, match="is the data set 'made'"):
        bring(make(tmp_path))
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "mine" / "letter.txt").read_text(encoding="utf-8") == "Dear"


def test_another_wheel_of_that_name_is_not_believed(
    recbole_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tmp_path / "links"
    links.mkdir()
    shutil.copy(recbole_wheel, wheel_path := links / "recbole-1.2.1-py3-none-any.whl")
    with zipfile.ZipFile(wheel_path, "a") as wheel:
        wheel.writestr("recbole/more.py", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DatasetError, match=r"the wheel of recbole==1\.2\.1 that pip brought is not the one") as caught:
        bring(tmp_path / "out")
    assert "check the package index" in caught.value.hint
    assert {path.name for path in tmp_path.iterdir()} <= {"links", "home"}


# Ids that text formats trip over; a catalog strips their ends and knows no lone surrogates.
_IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda text: scalar(text) == text
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
        dataset = load(make(Path(name), text, items))
    assert dataset.item_ids == tuple(item_ids)
    assert [dataset.user_ids[user] for user in dataset.users] == [user for user, *_ in rows]
    assert dataset.items.tolist() == [item for _, item, _, _ in rows]
    assert dataset.timestamps.tolist() == [float(time) for _, _, time, _ in rows]
    ratings = np.array([math.nan if rating is None else rating for *_, rating in rows], np.float32)
    assert np.array_equal(dataset.ratings, ratings, equal_nan=True)


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


def test_without_a_folder_it_goes_to_its_place(tmp_path: Path, own_home: Path) -> None:
    assert make(tmp_path, out=None) == own_home / "datasets" / "made"
    assert load("made").n_events == 2


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
