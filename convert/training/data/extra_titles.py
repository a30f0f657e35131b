"""The catalogs that a run trains on: the data set's items, alone and among titles that nobody in the data set has met.

A model that only ever chose between the data set's titles has never learned to leave the others alone: in a catalog
ten times as large it fills its answers with them. So a step's trie is drawn from some: the data set's own, and with a
random part of the other titles. Namesakes are then spelled now with a year, now without.
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

PriorOf = Callable[[int, NDArray[np.integer], int], NDArray[np.float32]]
"""(user, history, start) -> log-probabilities of all items at the places of a history from `start` on, a row each."""
FILMS = "films"
"""What a recipe calls the catalog that the package brings along."""
SHARES = (0.0, 1 / 16, 1 / 4, 1.0)
"""Of the other titles, in the catalogs that are trained on; each comes equally often."""


@dataclass(frozen=True, slots=True)
class ExtraTitles:
    """Titles that are no items of a data set: (title, year), and the revision of the catalog they are from."""

    titles: tuple[tuple[str, int | None], ...]
    revision: str


def other_titles(spec: str, dataset: Dataset) -> ExtraTitles:
    """Return the titles of a catalog that the data set has not, nor with a year that differs by one.

    Args:
        spec: "films", or the path of a catalog.
        dataset: whose items are left out.

    Raises:
        UsageError: no such file.
        CatalogError: it is no catalog, or has no title but the data set's.
    """
    years: dict[str, list[int | None]] = {}
    for title, year in dataset.titles:
        years.setdefault(key(title), []).append(year)

    def is_ours(title: str, year: int | None) -> bool:
        return any(None in {year, own} or abs((year or 0) - (own or 0)) <= 1 for own in years.get(key(title), ()))

    path = default_catalog_path() if spec == FILMS else Path(spec)
    with Catalog.open(path) as catalog:
        titles = tuple((title, year) for _, title, year in catalog.titles() if not is_ours(title, year))
        revision = catalog.revision
    if not titles:
        raise UsageError(f"{path} has no titles beside those of {dataset.name}", hint="leave objective.others out")
    return ExtraTitles(titles, revision)


def drawn(others: ExtraTitles, seed: int) -> list[NDArray[np.int64]]:
    """Return which of the other titles are in each catalog: larger ones hold the smaller."""
    order = np.random.default_rng([seed, len(others.titles)]).permutation(len(others.titles))
    return [np.sort(order[: round(share * len(order))]) for share in SHARES]


def prior_over(prior: PriorOf, rows: NDArray[np.int64], n_items: int, n_events: int) -> PriorOf:
    """Return a data set's prior over the positions of a trie, each row summing to one.

    Args:
        prior: over the items of the data set.
        rows: (n_positions,) the item at each position; from `n_items` on they are other titles.
        n_items: of the data set.
        n_events: that were counted. Other titles share what half an event each is worth.
    """
    is_known = rows < n_items
    n_known, n_others = int(is_known.sum()), int((~is_known).sum())
    rest = SMOOTHING * n_others / (n_events + SMOOTHING * (n_known + n_others))

    def over(user: int, history: NDArray[np.integer], start: int) -> NDArray[np.float32]:
        log_probs = prior(user, history, start)[:, rows[is_known]].astype(np.float64)
        log_probs += np.log1p(-rest) - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
        spread = np.full((len(log_probs), len(rows)), np.log(rest / n_others) if n_others else 0.0, np.float32)
        spread[:, is_known] = log_probs
        return spread

    return over
