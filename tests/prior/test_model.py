"""Priors against nested loops over the definition, incremental counting against counting anew, and damaged files."""

from __future__ import annotations

import csv
import math
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec_edge.catalog import writer
from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.folder import Dataset, load
from genrec_edge.datasets.splits import Ties, leave_one_out, user_histories
from genrec_edge.errors import DatasetError, GenRecError, LockedError, UsageError
from genrec_edge.prior import build
from genrec_edge.prior.bind import BoundPrior, bind
from genrec_edge.prior.cross_fitting import cross_fitted
from genrec_edge.prior.db import ItemPrior
from genrec_edge.prior.fit import fit, minimise
from genrec_edge.prior.model import DECAYS, DEFAULT, SEEN_LOGPROB, Coefficients, PriorCounts, log_prob
from genrec_edge.prior.update import update

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from genrec_edge.records import PriorKind

N_ITEMS = 7
HISTORY = st.lists(st.integers(0, N_ITEMS - 1), max_size=14)
HISTORIES = st.lists(HISTORY, min_size=1, max_size=5)
COEFFICIENTS = Coefficients((0.7, 0.3, -0.2, 1.1), (-1.0, 0.5, -2.0, -0.3))


def arrays(lists: Sequence[Sequence[int]]) -> list[NDArray[np.int32]]:
    return [np.array(items, np.int32) for items in lists]


def followed(lists: Sequence[Sequence[int]], i: int, j: int) -> float:
    return sum(
        1 / (b - a)
        for items in lists
        for a in range(len(items))
        for b in range(a + 1, min(a + 11, len(items)))
        if (items[a], items[b]) == (i, j)
    )


def ease(lists: Sequence[Sequence[int]], history: Sequence[int]) -> list[float]:
    """Return EASE's scores from ridge regressions, one item on all others: no inverse of the whole."""
    met = np.array([[i in items for i in range(N_ITEMS)] for items in lists], np.float64).reshape(-1, N_ITEMS)
    scores = []
    for j in range(N_ITEMS):
        others = np.delete(met, j, axis=1)
        weights = np.linalg.solve(others.T @ others + 100 * np.eye(N_ITEMS - 1), others.T @ met[:, j])
        score = sum(np.insert(weights, j, 0.0)[i] for i in set(history))
        scores.append(score if score > 1e-5 and j not in history else 0.0)
    return scores


def by_definition(lists: Sequence[Sequence[int]], history: Sequence[int], kind: str, c: Coefficients) -> list[float]:
    """Return the log-probability of each item as `priors` defines it, one number after the other."""
    n = [sum(items.count(i) for items in map(list, lists)) for i in range(N_ITEMS)]
    pop = [(n[j] + 0.5) / sum(k + 0.5 for k in n) for j in range(N_ITEMS)]
    scores = [math.log(p) for p in pop]
    sums = [
        [
            sum(
                d**p * (followed(lists, i, j) + followed(lists, j, i)) / max(n[i], 1) ** 0.8
                for p, i in enumerate(reversed(history))
            )
            for j in range(N_ITEMS)
        ]
        for d in DECAYS
    ]
    sums.append(ease(lists, history))
    if kind == "sequence" and max(map(max, sums)) > 0:
        scores = [c.weights[0] * math.log(N_ITEMS * p + math.exp(c.log_floors[0])) for p in pop]
        for s, weight, log_floor in zip(sums, c.weights[1:], c.log_floors[1:], strict=True):
            for j in range(N_ITEMS):
                scores[j] += weight * math.log(N_ITEMS * s[j] / (sum(s) or 1) + math.exp(log_floor))
    total = sum(math.exp(score) for j, score in enumerate(scores) if j not in history)
    return [SEEN_LOGPROB if j in history else score - math.log(total) for j, score in enumerate(scores)]


@pytest.mark.parametrize("kind", ["popularity", "sequence"])
@given(lists=HISTORIES, history=HISTORY)
def test_a_prior_is_its_definition(kind: PriorKind, lists: list[list[int]], history: list[int]) -> None:
    found = log_prob(PriorCounts.of(arrays(lists), N_ITEMS), np.array(history, np.int64), kind, COEFFICIENTS)
    assert found.tolist() == pytest.approx(by_definition(lists, history, kind, COEFFICIENTS), abs=1e-5)
    assert np.isfinite(found).all()
    if unseen := [j for j in range(N_ITEMS) if j not in history]:
        assert np.exp(found[unseen]).sum() == pytest.approx(1)


@pytest.mark.slow
@given(lists=HISTORIES)
def test_a_history_is_explained_by_the_others_alone(lists: list[list[int]]) -> None:
    ask = cross_fitted(arrays(lists), N_ITEMS, COEFFICIENTS)
    for user, items in enumerate(lists):
        others = lists[:user] + lists[user + 1 :]
        for history, start in ((items, 0), (items, len(items) // 2), (items[1::2], 0)):
            found = ask(user, np.array(history, np.int32), start)
            assert found.shape == (len(history) - start, N_ITEMS)
            assert found.dtype == np.float32
            for place, row in enumerate(found, start):
                truth = by_definition(others, history[:place], "sequence", COEFFICIENTS)
                assert row.tolist() == pytest.approx(truth, abs=1e-4)


def test_what_was_never_met_is_finite_and_below_what_was() -> None:
    counts = PriorCounts.of(arrays([[0, 1, 2], [0, 1, 3]]), 1000)
    for history in ([], [0], [999]):
        found = log_prob(counts, np.array(history, np.int64), "sequence")
        assert np.isfinite(found).all()
        assert len({found[i] for i in range(10, 900)}) == 1
    assert (
        log_prob(counts, np.array([0]), "sequence")[1] > log_prob(counts, np.array([0]), "sequence")[500] > SEEN_LOGPROB
    )


def test_the_best_of_a_smooth_function_is_found() -> None:
    def rosenbrock(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a, b = x
        slope = np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)])
        return float((1 - a) ** 2 + 100 * (b - a * a) ** 2), slope

    place, value = minimise(rosenbrock, np.array([-1.2, 1.0]))
    assert place == pytest.approx([1, 1], abs=0.01)
    assert value < 1e-4


def test_fitted_coefficients_explain_better_and_the_slope_is_that_of_the_loss() -> None:
    from genrec_edge.prior.fit import _loss, _positions

    rng = np.random.default_rng(3)
    # A walk around a ring: the last item says nearly all, popularity nothing.
    walks = [np.cumsum(rng.choice([1, 1, 1, 2, 5], size=12)) % 40 for _ in range(60)]
    lists = [list(dict.fromkeys(walk.tolist())) for walk in walks]
    found = fit(arrays(lists), 40)
    assert found.nats < found.default_nats - 0.05
    data = _positions(arrays(lists), 40, np.random.default_rng(0))
    at = np.array([*COEFFICIENTS.weights, *COEFFICIENTS.log_floors])
    _, slope = _loss(at, *data)
    for i in range(len(at)):
        step = np.eye(len(at))[i] * 1e-4
        numeric = (_loss(at + step, *data)[0] - _loss(at - step, *data)[0]) / 2e-4
        assert slope[i] == pytest.approx(numeric, abs=1e-4)


def test_nothing_to_fit_to_says_so() -> None:
    with pytest.raises(UsageError, match="no history can be explained by the others"):
        fit(arrays([[0], [2]]), 4)


# ---- files


def dataset_of(events: Sequence[tuple[str, int, float]], n_items: int = N_ITEMS) -> Dataset:
    """Return a data set of (user, item, time) in this order."""
    user_ids = tuple(dict.fromkeys(user for user, _, _ in events))
    return Dataset(
        name="made",
        path=Path("made"),
        card={"interactions": {"sha256": "0"}},
        user_ids=user_ids,
        item_ids=tuple(f"i{i}" for i in range(n_items)),
        rows=np.arange(1, n_items + 1),
        titles=tuple((f"Title {i}", 1990 + i if i % 2 else None) for i in range(n_items)),
        users=np.array([user_ids.index(user) for user, _, _ in events], np.int32),
        items=np.array([item for _, item, _ in events], np.int32),
        timestamps=np.array([time for _, _, time in events], np.float64),
        ratings=np.full(len(events), np.nan, np.float32),
    )


def built(path: Path, events: Sequence[tuple[str, int, float]], ties: Ties = "file", **options: Any) -> ItemPrior:
    dataset = dataset_of(events)
    return build.build(path, dataset, user_histories(dataset, ties), ties, **options)


def written(path: Path, events: Sequence[tuple[str, int, float]]) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user", "item", "timestamp"])
        rows.writerows((user, f"i{item}", repr(time)) for user, item, time in events)
    return path


def assert_same(found: ItemPrior, expected: ItemPrior) -> None:
    assert found.counts.events.tolist() == expected.counts.events.tolist()
    a, b = found.counts.transitions, expected.counts.transitions
    assert (a.rows.tolist(), a.columns.tolist()) == (b.rows.tolist(), b.columns.tolist())
    assert a.values == pytest.approx(b.values, abs=1e-9)


EVENTS = [("ann", 0, 1.0), ("bob", 1, 2.0), ("ann", 2, 3.0), ("ann", 3, 3.0), ("bob", 2, 4.0), ("ann", 0, 5.0)]


@pytest.fixture
def prior_path(tmp_path: Path) -> Path:
    built(tmp_path / "prior.db", EVENTS)
    return tmp_path / "prior.db"


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    made = built(tmp_path / "prior.db", EVENTS, "item", coefficients=COEFFICIENTS)
    prior = ItemPrior.open(tmp_path / "prior.db")
    assert_same(prior, made)
    assert prior.card == made.card
    assert (prior.card.ties, prior.card.coefficients) == ("item", COEFFICIENTS)
    assert (prior.item_ids, prior.titles) == (dataset_of(EVENTS).item_ids, dataset_of(EVENTS).titles)
    sequences = [[0, 2, 3, 0], [1, 2]]
    for i in range(N_ITEMS):
        columns, values = prior.counts.transitions.row(i)
        expected = {j: followed(sequences, i, j) for j in range(N_ITEMS) if followed(sequences, i, j)}
        assert dict(zip(columns.tolist(), values.tolist(), strict=True)) == pytest.approx(expected)


@pytest.mark.slow
@given(data=st.data(), ties=st.sampled_from(["file", "item"]), n=st.integers(2, 60), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_adding_in_pieces_equals_counting_anew(
    tmp_path: Path, data: st.DataObject, ties: Ties, n: int, seed: int
) -> None:
    rng = random.Random(seed)
    times = sorted(rng.randrange(n) for _ in range(n))  # with ties
    events = [(f"u{rng.randrange(3)}", rng.randrange(N_ITEMS), float(time)) for time in times]
    if ties == "item":
        events.sort(key=lambda event: (event[2], event[1]))  # else a later piece may belong before what was counted
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1), min_size=1, max_size=4)))
    pieces = [events[a:b] for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    path = tmp_path / "prior.db"
    built(path, pieces[0], ties, force=True)
    for piece in pieces[1:]:
        rng.shuffle(shuffled := list(enumerate(piece)))
        if ties == "file":  # only events with equal times have to keep their order
            shuffled.sort(key=lambda numbered: (numbered[1][0], numbered[0]))
        added = update(path, written(tmp_path / "new.csv", [event for _, event in shuffled]))
        assert added.events == len(piece)
    assert_same(ItemPrior.open(path), built(tmp_path / "anew.db", events, ties, force=True))


def test_the_splitting_of_movielens_into_pieces_changes_nothing(ml_100k: Path, tmp_path: Path) -> None:
    dataset = load(ml_100k)
    order = np.argsort(dataset.timestamps, kind="stable")
    late = np.zeros(dataset.n_events, np.bool_)
    late[order[80_000:]] = True
    early = dataset.filtered(~late, "early")
    path = tmp_path / "prior.db"
    build.build(path, early, user_histories(early, "file"), "file")
    new = [(dataset.user_ids[dataset.users[e]], dataset.items[e], dataset.timestamps[e]) for e in np.flatnonzero(late)]
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("user", "item", "timestamp"), *((u, dataset.item_ids[i], t) for u, i, t in new)])
    added = update(path, tmp_path / "new.csv")
    assert (added.events, added.users > added.new_users > 0) == (20_000, True)
    whole = PriorCounts.of(user_histories(dataset, "file"), dataset.n_items)
    prior = ItemPrior.open(path)
    assert prior.counts.events.tolist() == whole.events.tolist()
    assert prior.counts.transitions.columns.tolist() == whole.transitions.columns.tolist()
    assert prior.counts.transitions.values == pytest.approx(whole.transitions.values, abs=1e-9)


def test_on_movielens_the_default_coefficients_are_as_good_as_the_book_says(ml_100k: Path) -> None:
    split = leave_one_out(load(ml_100k), "file")
    counts = PriorCounts.of(split.train, split.n_items)
    nats, hits = [], 0
    for user in split.users.tolist():
        found = log_prob(counts, np.append(split.train[user], split.validation[user]), "sequence")
        target = int(split.test[user])
        nats.append(-found[target])
        hits += int((found > found[target]).sum() < 10)
    assert np.mean(nats) == pytest.approx(5.581, abs=0.005)
    assert hits / len(split.users) == pytest.approx(0.2439, abs=0.002)


def test_events_before_what_was_counted_are_refused_and_nothing_is_added(prior_path: Path, tmp_path: Path) -> None:
    before = prior_path.read_bytes()
    late = written(tmp_path / "new.csv", [("eve", 1, 0.0), ("bob", 3, 3.5), ("ann", 1, 6.0)])
    with pytest.raises(UsageError, match="later events of 1 of the users") as error:
        update(prior_path, late)
    assert error.value.message.endswith(": user 'bob' at 3.5, before 4")
    assert "anew" in error.value.hint
    assert prior_path.read_bytes() == before


def test_ties_by_item_refuse_an_item_that_belongs_before(tmp_path: Path) -> None:
    path = tmp_path / "prior.db"
    built(path, EVENTS, "item")
    update(path, written(tmp_path / "new.csv", [("ann", 4, 5.0)]))
    with pytest.raises(UsageError, match="user 'ann' at 5"):
        update(path, written(tmp_path / "new.csv", [("ann", 3, 5.0)]))


def test_nothing_is_added_behind_a_gap(tmp_path: Path) -> None:
    dataset = dataset_of([("ann", i, float(i)) for i in range(5)])
    split = leave_one_out(dataset, "file")
    path = tmp_path / "prior.db"
    made = build.build(path, dataset, split.train, "file", split=split)
    assert made.counts.events.tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert ItemPrior.open(path).card.split == split.card()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM histories").fetchone() == (0,)
    with pytest.raises(UsageError, match="training part of a split") as error:
        update(path, written(tmp_path / "new.csv", [("ann", 1, 9.0)]))
    assert "--split all" in error.value.hint


def test_no_user_is_named_in_the_file(prior_path: Path) -> None:
    assert b"bob" not in prior_path.read_bytes()
    with closing(sqlite3.connect(prior_path)) as connection:
        assert connection.execute("SELECT count(DISTINCT user) FROM histories").fetchone() == (2,)


def test_new_events_have_to_be_events(prior_path: Path, tmp_path: Path) -> None:
    before = prior_path.read_bytes()
    for text, message in (
        ("user,item,timestamp\nann,i99,9\n", "unknown item 'i99'"),
        ("user,item,timestamp\nann,i1,soon\n", "timestamp 'soon'"),
        ("user,item\nann,i1\n", "no column looks like the timestamp"),
    ):
        (tmp_path / "new.csv").write_text(text)
        with pytest.raises(UsageError, match=message):
            update(prior_path, tmp_path / "new.csv")
    assert prior_path.read_bytes() == before
    surrogate = '{"user": "\\ud800", "item": "i1", "timestamp": 9}\n'
    (tmp_path / "new.jsonl").write_text(surrogate)
    assert update(prior_path, tmp_path / "new.jsonl").new_users == 1


def test_a_file_that_is_there_is_replaced_only_on_demand(prior_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        built(prior_path, EVENTS)
    built(prior_path, EVENTS[:2], force=True)
    assert ItemPrior.open(prior_path).counts.events.sum() == 2


def test_a_prior_that_is_written_to_is_locked(
    prior_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("genrec_edge.storage.sqlite.BUSY_TIMEOUT_S", 0.1)
    new = written(tmp_path / "new.csv", [("ann", 1, 9.0)])
    with closing(sqlite3.connect(prior_path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LockedError):
            ItemPrior.open(prior_path)
        with pytest.raises(LockedError):
            update(prior_path, new)
        connection.execute("ROLLBACK")
    assert update(prior_path, new).events == 1


DAMAGED_COEFFICIENTS = "UPDATE meta SET value = '{}' WHERE name = 'coefficients'"
DAMAGE = {
    "a view that never ends": "DROP TABLE transitions; CREATE VIEW transitions AS WITH RECURSIVE x(n) AS "
    "(SELECT 1 UNION ALL SELECT n FROM x) SELECT n AS source, n AS target, 1.0 AS weight FROM x",
    "a table more": "CREATE TABLE more(x)",
    "no items": "DELETE FROM items",
    "a gap in the items": "DELETE FROM items WHERE item = 3",
    "a count that is none": "UPDATE items SET n = 'many' WHERE item = 1",
    "a negative count": "UPDATE items SET n = -1 WHERE item = 1",
    "an id that is no text": "UPDATE items SET id = x'00' WHERE item = 1",
    "a title that is no text": "UPDATE items SET title = x'ff' WHERE item = 1",
    "a year that is none": "UPDATE items SET year = 'late' WHERE item = 1",
    "a transition into nothing": "UPDATE transitions SET target = 99 WHERE source = 0 AND target = 2",
    "a transition from a text": "UPDATE transitions SET source = 'x' WHERE source = 0 AND target = 2",
    "a weight that is none": "UPDATE transitions SET weight = 'x' WHERE source = 0",
    "a weight without end": "UPDATE transitions SET weight = 9e999 WHERE source = 0",
    "a negative weight": "UPDATE transitions SET weight = -1.0 WHERE source = 0",
    "no coefficients": "DELETE FROM meta WHERE name = 'coefficients'",
    "coefficients that are none": DAMAGED_COEFFICIENTS.format('{"weights": [1, 2], "log_floors": [1, 2]}'),
    "endless coefficients": DAMAGED_COEFFICIENTS.format('{"weights": [1, 2, 3, Infinity], "log_floors": [1, 2, 3, 4]}'),
    "no JSON": "UPDATE meta SET value = '{' WHERE name = 'split'",
    "deep JSON": f"UPDATE meta SET value = '{'[' * 100_000}' WHERE name = 'split'",
    "another rule": "UPDATE meta SET value = 'dice' WHERE name = 'ties'",
    "another program's file": "PRAGMA application_id = 7",
    "a newer format": "PRAGMA user_version = 2",
}


@pytest.mark.parametrize("statement", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_prior_is_one_error(prior_path: Path, statement: str) -> None:
    with closing(sqlite3.connect(prior_path)) as connection:
        connection.executescript(statement)
    with pytest.raises(DatasetError) as error:
        ItemPrior.open(prior_path)
    assert str(prior_path) in error.value.message
    assert error.value.hint


def said(ask: Callable[[], object]) -> str:
    """Return the message of our error, "" for none; anything else that is raised is a bug."""
    try:
        ask()
    except GenRecError as error:
        return error.message
    return ""


def test_a_file_cut_off_anywhere_or_with_bits_changed_never_surprises(prior_path: Path, tmp_path: Path) -> None:
    whole = prior_path.read_bytes()
    rng = random.Random(7)
    path = tmp_path / "other.db"
    new = written(tmp_path / "new.csv", [("ann", 1, 9.0)])
    for _ in range(150):
        content = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.randrange(1, 20)):
            if content:
                content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        for message in (said(lambda: ItemPrior.open(path)), said(lambda: update(path, new))):
            assert "\n" not in message
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


def test_no_file_a_folder_and_a_text_are_no_priors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such prior"):
        ItemPrior.open(tmp_path / "none.db")
    with pytest.raises(UsageError, match="cannot read the prior"):
        ItemPrior.open(tmp_path)
    (tmp_path / "text.db").write_text("not this")
    with pytest.raises(DatasetError, match="is not a prior"):
        ItemPrior.open(tmp_path / "text.db")


# ---- binding


@pytest.fixture
def make_catalog(tmp_path: Path) -> Callable[[Sequence[tuple[str, str, int | None]]], Path]:
    def make(items: Sequence[tuple[str, str, int | None]]) -> Path:
        source = tmp_path / "items.csv"
        with source.open("w", newline="") as file:
            csv.writer(file).writerows([("id", "title", "year"), *items])
        writer.build(source, tmp_path / "items.db", force=True)
        return tmp_path / "items.db"

    return make


def bound_to(prior: ItemPrior, path: Path) -> tuple[BoundPrior, dict[str, int]]:
    """Bind to a catalog with its rows backwards; return also the place of each id."""
    with Catalog.open(path) as opened:
        rows = np.array([row for row, _, _ in opened.titles()][::-1], np.int64)
        ids = [item.id for item in opened.items(rows.tolist())]
        return bind(prior, opened, rows), {item_id: i for i, item_id in enumerate(ids)}


def test_its_own_catalog_is_bound_by_id(
    prior_path: Path, make_catalog: Callable[[Sequence[tuple[str, str, int | None]]], Path]
) -> None:
    prior = ItemPrior.open(prior_path)
    own = [(i, title, year) for i, (title, year) in zip(prior.item_ids, prior.titles, strict=True)]
    bound, place_of = bound_to(prior, make_catalog(own))
    assert bound.n_dropped == 0
    places = [place_of[item_id] for item_id in prior.item_ids]
    assert bound.counts.events[places].tolist() == prior.counts.events.tolist()
    row_of = {place: row for row, place in bound.position_of.items()}
    history = np.array([0, 2])
    found = bound.log_prob(np.array([row_of[places[i]] for i in history]), "sequence")
    assert found[places] == pytest.approx(log_prob(prior.counts, history, "sequence"))


def test_another_catalog_is_bound_by_title_and_year(tmp_path: Path, make_catalog: Callable[..., Path]) -> None:
    titles = [("Heat", 1995), ("Heat", 1986), ("Matrix, The", 1999), ("Alien", 1979), ("Solo", None), ("Gone", 2000)]
    counted = dataset_of([("ann", i, float(i)) for i in range(6)], n_items=6)
    named = Dataset(**{**{f: getattr(counted, f) for f in counted.__slots__}, "titles": tuple(titles)})
    prior = build.build(tmp_path / "prior.db", named, user_histories(named, "file"), "file")
    other = [
        ("i3", "Something else", 1979),  # the id of Alien, and not Alien
        ("a", "heat", 1987),  # a year off
        ("b", "HEAT", 1995),
        ("c", "The Matrix", None),
        ("d", "Alien", 1979),
        ("e", "Solo", 2018),
        ("f", "Gone", 1990),  # too far off
        ("g", "Never met", 1950),
    ]
    bound, place_of = bound_to(prior, make_catalog(other))
    assert bound.n_dropped == 1
    assert {i for i, place in place_of.items() if bound.counts.events[place]} == {"a", "b", "c", "d", "e"}
    columns, values = bound.counts.transitions.row(place_of["b"])  # Heat (1995) was followed by the others in turn
    expected = {place_of[i]: 1 / d for i, d in (("a", 1), ("c", 2), ("d", 3), ("e", 4))}
    assert dict(zip(columns.tolist(), values.tolist(), strict=True)) == pytest.approx(expected)
    found = bound.log_prob(np.array([], np.int64), "popularity")
    assert np.isfinite(found).all()
    assert np.exp(found).sum() == pytest.approx(1)


def test_items_that_are_one_in_the_other_catalog_are_counted_together(
    tmp_path: Path, make_catalog: Callable[..., Path]
) -> None:
    counted = dataset_of([("ann", 0, 0.0), ("ann", 1, 1.0), ("bob", 0, 0.0), ("bob", 2, 1.0)], n_items=3)
    titles = (("Before", None), ("Hero", 2002), ("Hero", 2002))
    named = Dataset(**{**{f: getattr(counted, f) for f in counted.__slots__}, "titles": titles})
    prior = build.build(tmp_path / "prior.db", named, user_histories(named, "file"), "file")
    bound, place_of = bound_to(prior, make_catalog([("x", "Before", None), ("y", "Hero", 2002)]))
    assert bound.counts.events[[place_of["x"], place_of["y"]]].tolist() == [2, 2]
    columns, values = bound.counts.transitions.row(place_of["x"])
    assert (columns.tolist(), values.tolist()) == ([place_of["y"]], [2.0])


def test_a_copy_of_a_prior_is_the_prior(prior_path: Path, tmp_path: Path) -> None:
    assert_same(ItemPrior.open(shutil.copy(prior_path, tmp_path / "copy.db")), ItemPrior.open(prior_path))
    assert ItemPrior.open(prior_path).card.coefficients == DEFAULT
