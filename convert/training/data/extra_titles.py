"""The catalogs that a run trains on: the data set's items alone, and together with extra titles.

A model that has only ever chosen between the data set's titles has not learned to leave other titles alone: in a
catalog ten times as large it recommends mostly those. Each step therefore uses one of several tries: the data set's
own, or one with a random share of the extra titles. Titles that occur twice are then spelled with their year in some
tries and without it in others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.titles import key
from genrec_edge.errors import UsageError
from genrec_edge.prior.model import SMOOTHING

if TYPE_CHECKING:
    from genrec_edge.datasets.folder import Dataset

PriorFunction = Callable[[int, NDArray[np.integer], int], NDArray[np.float32]]
"""(user, history, start) -> (len(history) - start, n) log-probabilities, for each item of `history` from `start` on."""
FILMS = "films"
"""The value of `objective.others` for the catalog that comes with the package."""
SHARES = (0.0, 1 / 16, 1 / 4, 1.0)
"""Share of the extra titles in each catalog that is trained on; all are used equally often."""


@dataclass(frozen=True, slots=True)
class ExtraTitles:
    """(title, year) of titles that are not in a data set, and the revision of the catalog they are from."""

    titles: tuple[tuple[str, int | None], ...]
    revision: str


def load_extra_titles(catalog: str, dataset: Dataset) -> ExtraTitles:
    """Return the titles of a catalog that are not in a data set, also not with a year that differs by one.

    Args:
        catalog: "films", or the path of a catalog.
        dataset: the data set whose titles are left out.

    Raises:
        UsageError: there is no such file, or all its titles are in the data set.
        CatalogError: the file is not a catalog.
    """
    years: dict[str, list[int | None]] = {}
    for title, year in dataset.titles:
        years.setdefault(key(title), []).append(year)

    def is_in_dataset(title: str, year: int | None) -> bool:
        return any(_is_same_year(year, other) for other in years.get(key(title), ()))

    path = default_catalog_path() if catalog == FILMS else Path(catalog)
    with Catalog.open(path) as opened:
        titles = tuple((title, year) for _, title, year in opened.titles() if not is_in_dataset(title, year))
        revision = opened.revision
    if not titles:
        message = f"objective.others: all titles of {path} are in {dataset.name}, too"
        raise UsageError(message, hint="leave objective.others empty, or name a catalog with more titles")
    return ExtraTitles(titles, revision)


def _is_same_year(a: int | None, b: int | None) -> bool:
    """Whether two years may belong to one film: they differ by one at most, or one is unknown."""
    return a is None or b is None or abs(a - b) <= 1


def sample_subsets(extra: ExtraTitles, seed: int) -> list[NDArray[np.int64]]:
    """Return the sorted indexes of the extra titles in each catalog; larger catalogs contain the smaller ones."""
    order = np.random.default_rng([seed, len(extra.titles)]).permutation(len(extra.titles))
    return [np.sort(order[: round(share * len(order))]) for share in SHARES]


def prior_over_trie(prior: PriorFunction, rows: NDArray[np.int64], n_items: int, n_events: int) -> PriorFunction:
    """Return a data set's prior as a prior over the positions of a trie; each row sums to one.

    Args:
        prior: over the items of the data set.
        rows: (n_positions,) the item at each trie position; numbers from `n_items` on are extra titles.
        n_items: number of items in the data set.
        n_events: number of events that the prior has counted. Each extra title counts as half an event.
    """
    is_item = rows < n_items
    n_known, n_extra = int(is_item.sum()), int((~is_item).sum())
    extra_mass = SMOOTHING * n_extra / (n_events + SMOOTHING * (n_known + n_extra))

    def prior_over_positions(user: int, history: NDArray[np.integer], start: int) -> NDArray[np.float32]:
        log_probs = prior(user, history, start)[:, rows[is_item]].astype(np.float64)
        log_probs += np.log1p(-extra_mass) - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
        fill = np.log(extra_mass / n_extra) if n_extra else 0.0
        spread = np.full((len(log_probs), len(rows)), fill, np.float32)
        spread[:, is_item] = log_probs
        return spread

    return prior_over_positions
