"""Files of priors: written and read again."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from genrec_edge.datasets.splits import leave_one_out
from genrec_edge.errors import UsageError
from genrec_edge.prior.build import build
from genrec_edge.prior.db import ItemPrior
from genrec_edge.prior.model import DEFAULT
from tests.support.priors import COEFFICIENTS, EVENTS, N_ITEMS, assert_same, built, dataset_of, followed

if TYPE_CHECKING:
    from pathlib import Path


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


def test_no_user_is_named_in_the_file(prior_path: Path) -> None:
    assert b"bob" not in prior_path.read_bytes()
    with closing(sqlite3.connect(prior_path)) as connection:
        assert connection.execute("SELECT count(DISTINCT user) FROM histories").fetchone() == (2,)


def test_a_file_that_is_there_is_replaced_only_on_demand(prior_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        built(prior_path, EVENTS)
    built(prior_path, EVENTS[:2], force=True)
    assert ItemPrior.open(prior_path).counts.events.sum() == 2


def test_a_prior_is_not_written_over_its_data(tmp_path: Path) -> None:
    data = tmp_path / "interactions.csv"
    data.write_text("x")
    dataset = replace(dataset_of(EVENTS), path=tmp_path)
    (tmp_path / "link").hardlink_to(data)
    for name in ("interactions.csv", "link"):
        with pytest.raises(UsageError, match="over what is read"):
            build(tmp_path / name, dataset, [], "file", force=True)
    assert data.read_text() == "x"


def test_a_copy_of_a_prior_is_the_prior(prior_path: Path, tmp_path: Path) -> None:
    assert_same(ItemPrior.open(shutil.copy(prior_path, tmp_path / "copy.db")), ItemPrior.open(prior_path))
    assert ItemPrior.open(prior_path).card.coefficients == DEFAULT


@pytest.mark.parametrize("days", [1, 10])
def test_what_was_met_in_the_last_four_weeks_is_counted(days: int, tmp_path: Path) -> None:
    """Of a split's training part, which has no times in the file, nothing is."""
    events = [(f"u{i % 3}", i % N_ITEMS, i * days * 86400.0) for i in range(20)]
    last = events[-1][2]
    expected = [sum(item == i and last - 28 * 86400 <= time for _, item, time in events) for i in range(N_ITEMS)]
    for prior in (built(tmp_path / "prior.db", events), ItemPrior.open(tmp_path / "prior.db")):
        assert prior.recent is not None
        assert prior.recent.tolist() == expected
    split = leave_one_out(dataset_of(events), "file")
    build(tmp_path / "part.db", dataset_of(events), split.train, "file", split=split)
    assert ItemPrior.open(tmp_path / "part.db").recent is None
