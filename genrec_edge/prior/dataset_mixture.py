"""The mixture over the items of a data set, counted from the training part of a split: a teacher, and a baseline."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.reader import Catalog
from genrec_edge.coordinates import CatalogRows
from genrec_edge.prior import fact_table
from genrec_edge.prior.known import known_shares
from genrec_edge.prior.mixture import COUNTED, OPEN, Mixture, MixtureWeights
from genrec_edge.prior.model import PriorCounts
from genrec_edge.prior.open_likes import liked_sets, liked_sets_beside
from genrec_edge.prior.trend import TimedEvents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.prior.facts import FactIndex
    from genrec_edge.prior.liked import LikedSets

_OLDER_YEARS = 2
"""An item that is as many years older than the first event was not new to anybody."""


def mixture_of(dataset: Dataset, histories: Sequence[NDArray[np.int32]], weights: MixtureWeights = COUNTED) -> Mixture:
    """Return the mixture over the items of a data set.

    Args:
        dataset: its catalog has the facts.
        histories: training items of each user, oldest first.
        weights: of the parts.
    """
    counts = PriorCounts.of(histories, dataset.n_items)
    facts, liked = dataset_facts(dataset), dataset_likes(dataset, histories)
    return Mixture(dataset.n_items, weights, facts, liked, _known(dataset), counts)


def training_events(dataset: Dataset, histories: Sequence[NDArray[np.int32]]) -> TimedEvents:
    """Return the events of a data set that are in the training histories of their users, in the order of time."""
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    trained = users * np.int64(dataset.n_items) + np.concatenate([np.empty(0, np.int64), *histories])
    is_trained = np.isin(dataset.users * np.int64(dataset.n_items) + dataset.items, trained)
    return TimedEvents.of(dataset.timestamps[is_trained], dataset.items[is_trained], dataset.n_items)


def open_mixture(dataset: Dataset) -> Mixture:
    """Return the mixture over the items of a data set that knows no event of it: what comes with the package."""
    return Mixture(dataset.n_items, OPEN, dataset_facts(dataset), dataset_likes(dataset, None), _known(dataset))


def dataset_facts(dataset: Dataset) -> FactIndex:
    """Return the facts of the items of a data set."""
    with Catalog.open(dataset.catalog_path) as catalog:
        return fact_table.read(catalog, CatalogRows(dataset.rows))


def dataset_likes(dataset: Dataset, histories: Sequence[NDArray[np.int32]] | None) -> LikedSets:
    """Return the liked sets of a data set: training histories and dialogues; with None those of the package alone."""
    with Catalog.open(dataset.catalog_path) as catalog:
        if histories is None:
            return liked_sets(catalog, dataset.rows)
        return liked_sets_beside(catalog, dataset.rows, histories, _is_older(dataset))


def _known(dataset: Dataset) -> NDArray[np.float64] | None:
    with Catalog.open(dataset.catalog_path) as catalog:
        return known_shares(catalog, dataset.rows)


def _is_older(dataset: Dataset) -> NDArray[np.bool_]:
    """Return the items, (n_items,), that were not new at the time of the first event."""
    first = datetime.fromtimestamp(float(dataset.timestamps.min()), UTC).year
    years = np.array([year or 0 for _, year in dataset.titles])
    return years <= first - _OLDER_YEARS
