"""A data set of the tricky catalog, the prior counted on it, and models tuned on a prior."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.datasets.folder import load
from genrec_edge.datasets.histories import user_histories
from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files
from genrec_edge.prior.build import build as build_prior
from genrec_edge.prior.db import ItemPrior
from genrec_edge.prior.model import log_prob
from tests.support.folders import TRICKY_CSV

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

N_USERS = 30


@pytest.fixture(scope="module")
def prior_events() -> list[tuple[str, str, int]]:
    """User, item and time: some films follow others more often than by chance."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(N_USERS):
        at = rng.integers(0, 60)
        items = dict.fromkeys((at + rng.integers(0, 4, 12).cumsum()) % 60)
        rows += [(f"user {user}", f"{item + 1:03}", 1000 * user + i) for i, item in enumerate(items)]
    return rows


def write_events(path: Path, rows: list[tuple[str, str, int]]) -> Path:
    """Write events as `data import` and `prior update` read them."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("user", "item", "timestamp"), *rows])
    return path


def import_events(events: list[tuple[str, str, int]], folder: Path) -> Path:
    """Make a data set of events on the items of the tricky catalog."""
    source, about = write_events(folder.with_suffix(".csv"), events), DatasetInfo("made", "made", "MIT")
    return import_files(source, TRICKY_CSV, folder, about, ColumnNames(), force=False, on_event=lambda *_: None)


@pytest.fixture
def prior_data(prior_events: list[tuple[str, str, int]], tmp_path: Path) -> Path:
    """The data set of `prior_events`, for this test alone."""
    return import_events(prior_events, tmp_path / "data")


@pytest.fixture
def prior_path(prior_data: Path, tmp_path: Path) -> Path:
    """The counts of all events of `prior_data`."""
    dataset = load(prior_data)
    build_prior(tmp_path / "prior.db", dataset, user_histories(dataset, "file"), "file")
    return tmp_path / "prior.db"


@pytest.fixture
def residual_model(tiny_llama: Path, tmp_path: Path) -> Callable[[Mapping[str, Any]], Path]:
    """Returns a function that writes the tiny model with the record of a training on a prior."""
    from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
    from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
    from genrec_edge.convert.pipeline.metadata import model_metadata

    def write(record: Mapping[str, Any]) -> Path:
        checkpoint = read_gguf(tiny_llama)
        known = {"score_kind": "catalog", "objective": "residual", "prior": "sequence", **record}
        fields = {f"genrec_edge.train.{key}": value for key, value in known.items()}
        path = tmp_path / "residual.gguf"
        with path.open("wb") as file:
            write_gguf(checkpoint, file, model_metadata(checkpoint, [], "residual", "MIT") | fields)
        return path

    return write


def log_priors(path: Path, history: list[str], kind: Any = "sequence") -> dict[str, float]:
    """Return the prior of each item by its id, without a catalog in between."""
    prior = ItemPrior.open(path)
    seen = np.array([prior.item_ids.index(item_id) for item_id in history], np.int64)
    found = log_prob(prior.counts, seen, kind, prior.card.coefficients)
    return dict(zip(prior.item_ids, found.tolist(), strict=True))
