"""The mixture of a data set: what is counted of it, and that the other one knows no event."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import split_of
from genrec_edge.prior.dataset_mixture import mixture_of, open_mixture
from genrec_edge.prior.mixture import COUNTED, OPEN
from genrec_edge.prior.open_likes import TALKED, shipped_likes
from tests.support.event_tables import dataset_of
from tests.support.mixtures import liked_by_loops

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from genrec_edge.datasets.folder import Dataset

YEAR_S = 365.25 * 86400
ITEMS: list[tuple[str, int | None]] = [
    ("Heat", 1995),
    ("Alien", 1979),
    ("Pulp Fiction", 1994),
    ("Her", 2013),
    ("Gravity", 2013),
    ("Film of My Own", 2011),
    ("Film Without a Year", None),
]
MET = [[0, 3, 1], [3, 4], [5, 6, 1], [2, 0, 1, 4]]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A data set of real films, met in 2013."""
    from genrec_edge.catalog import writer

    lines = ["id,title,year,genres,known", *(f"i{i},{t},{y or ''},War,{9 * i}" for i, (t, y) in enumerate(ITEMS))]
    (tmp_path / "items.csv").write_text("\n".join(lines), encoding="utf-8")
    writer.build(tmp_path / "items.csv", tmp_path / "catalog.db")
    events = [(user, item, 43.5 * YEAR_S + place) for user, items in enumerate(MET) for place, item in enumerate(items)]
    return replace(dataset_of(events, n_items=len(ITEMS)), path=tmp_path, titles=tuple(ITEMS))


def talked(dataset: Dataset) -> list[list[int]]:
    """Return what people liked in dialogues, as items of the data set."""
    likes = shipped_likes()
    at = {name: item for item, name in enumerate(dataset.titles)}
    return [[at[likes.titles[film]] for film in one if likes.titles[film] in at] for one in likes.sets[TALKED]]


def assert_liked(found: Sequence[float], groups: list[list[list[int]]], history: list[int]) -> None:
    assert list(found) == pytest.approx(liked_by_loops(groups, history, len(ITEMS)), abs=1e-12)


def test_liked_sets_are_those_of_the_users_and_the_dialogues(dataset: Dataset) -> None:
    """What came out in the year before the first event, or in that year, was new; so may be what has no year."""
    mixture = mixture_of(dataset, [np.array(items, np.int32) for items in MET])
    assert mixture.weights == COUNTED
    assert mixture.liked is not None
    old = {0, 1, 2, 5, 6}
    groups = [MET, [[item for item in items if item in old] for items in MET] + talked(dataset)]
    assert any(len(one) > 1 for one in talked(dataset))
    for history in ([0], [3, 1], [6]):
        assert_liked(mixture.liked.scores(history).tolist(), groups, history)
    assert mixture.known is not None
    assert mixture.known.tolist() == [9 * i / 100 for i in range(len(ITEMS))]
    assert mixture.used_weights() == {name: w for name, w in asdict(COUNTED).items() if name != "trend"}
    assert mixture.counts is not None
    assert mixture.counts.events.tolist() == [2, 3, 1, 2, 2, 1, 1]


def test_held_out_items_are_counted_nowhere(dataset: Dataset) -> None:
    """With the training part alone, or with data that never had the other events, it says the same."""
    train = [np.array(items[:-1], np.int32) for items in MET]
    found = mixture_of(dataset, train)
    kept = np.array([item != MET[user][-1] for user, item in zip(dataset.users, dataset.items, strict=True)])
    anew = mixture_of(dataset.filtered(kept, "training"), train)
    for history in ([0], [3, 1]):
        assert found.log_prob(history).tolist() == anew.log_prob(history).tolist()
        assert (
            found.log_prob(history).tolist()
            != mixture_of(dataset, [np.array(items, np.int32) for items in MET]).log_prob(history).tolist()
        )


def test_the_open_one_knows_no_event(dataset: Dataset) -> None:
    found = open_mixture(dataset)
    assert (found.weights, found.counts) == (OPEN, None)
    others = replace(dataset, items=dataset.items[::-1].copy(), timestamps=dataset.timestamps[::-1].copy())
    assert open_mixture(others).log_prob([0, 3]).tolist() == found.log_prob([0, 3]).tolist()
    assert found.used_weights().keys() == {"facts", "liked", "known"}


def test_a_data_set_without_such_columns_has_the_rest(small_data: Path) -> None:
    dataset = load(small_data)
    split = split_of(dataset, "leave-one-out", "file")
    mixture = mixture_of(dataset, split.train)
    assert mixture.known is None
    assert "known" not in mixture.used_weights()
    log_probs = mixture.log_prob(split.train[0].tolist())
    outside = np.setdiff1d(np.arange(dataset.n_items), split.train[0])
    assert np.exp(log_probs[outside]).sum() == pytest.approx(1)
    with Catalog.open(dataset.catalog_path) as catalog:
        assert "known" not in catalog.item_columns
