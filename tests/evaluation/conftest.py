"""A data set of films with facts, its split, and a tiny model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.datasets.folder import load
from genrec_edge.datasets.item_facts import ItemFacts, facts_of
from genrec_edge.datasets.splits import split_of
from genrec_edge.hub.store import ModelFile, ModelStore, resolve_model

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.split import Split


@pytest.fixture(scope="module")
def dataset(facts_data: Path) -> Dataset:
    return load(facts_data)


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return split_of(dataset, "leave-one-out", "file")


@pytest.fixture(scope="module")
def item_facts(dataset: Dataset, split: Split) -> ItemFacts:
    return ItemFacts(facts_of(dataset), split.train)


@pytest.fixture(scope="module")
def model_file(tiny_llama: Path) -> ModelFile:
    return resolve_model(tiny_llama, ModelStore())
