"""Adding events against counting anew."""

from __future__ import annotations

import csv
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec_edge.datasets.folder import load
from genrec_edge.datasets.histories import user_histories
from genrec_edge.datasets.splits import leave_one_out
from genrec_edge.errors import UsageError
from genrec_edge.prior import build
from genrec_edge.prior.db import ItemPrior
from genrec_edge.prior.model import PriorCounts
from genrec_edge.prior.update import update
from tests.support.priors import EVENTS, N_ITEMS, assert_same, built, dataset_of, written

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.records import Ties


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


def test_priors_of_earlier_versions_are_continued_with_their_spelling_of_users_and_times(tmp_path: Path) -> None:
    early = [("1.0", 0, 1_600_000_000_000.0), ("1.0", 1, 1_600_000_001_000.0), ("2", 1, 1_600_000_000_000.0)]
    prior_path = tmp_path / "prior.db"
    built(prior_path, early)
    text = "user,item,timestamp\n1,{item},1600000002000\n2,{item},1600000002\n"
    new = tmp_path / "new.csv"
    item_id = ItemPrior.open(prior_path).item_ids[2]
    new.write_text(text.format(item=item_id))
    done = update(prior_path, new)
    assert (done.events, done.users, done.new_users) == (2, 2, 0)
    new.write_text(f"user,item,timestamp\n2,{item_id},1500000002\n")
    with pytest.raises(UsageError, match="later events"):
        update(prior_path, new)


def test_a_file_that_is_added_twice_is_said(tmp_path: Path) -> None:
    prior_path = tmp_path / "prior.db"
    built(prior_path, EVENTS)
    new = written(tmp_path / "new.csv", [("ann", 1, 9.0), ("ann", 2, 9.0), ("eve", 1, 9.0)])
    assert update(prior_path, new).notes == ()
    assert update(prior_path, new).notes == ("3 events had been counted before, with the same time",)
    other = written(tmp_path / "other.csv", [("ann", 4, 9.0), ("eve", 1, 10.0)])
    assert update(prior_path, other).notes == ()
