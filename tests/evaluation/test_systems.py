"""Systems of an evaluation from names and files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.datasets.negatives import WeekPopularity
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.external_scores import save_scores
from genrec_edge.evaluation.systems import (
    baseline_names,
    baseline_rankers,
    external_ranker,
    model_variants,
    negatives_of,
)
from tests.support.evaluation import N_ITEMS, SPLIT
from tests.support.event_tables import dataset_of

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.datasets.folder import Dataset


def test_names_of_baselines_are_read_in_order_each_once() -> None:
    assert baseline_names("prior, ease,prior", has_model=False) == ["prior", "ease"]
    assert baseline_names("none", has_model=False) == []
    everything = ["random", "popularity", "item-knn", "ease", "sequential", "prior", "facts", "liked", "mixture"]
    assert baseline_names("all", has_model=True) == everything
    assert baseline_names("free,ease", has_model=True) == ["free", "ease"]
    with pytest.raises(UsageError, match="unknown `baselines`: 'x', 'y'"):
        baseline_names("x,ease,y", has_model=True)
    with pytest.raises(UsageError, match="'free' needs a model"):
        baseline_names("free", has_model=False)


def test_free_text_is_a_variant_of_models_and_no_baseline_of_its_own(dataset: Dataset) -> None:
    assert [system.name for system in baseline_rankers(["free", "ease"], dataset, SPLIT, fit_first=True)] == [
        "ease, fit first"
    ]
    variants = list(model_variants(["free"], "sequence", [0, 2.0], dataset, SPLIT))
    assert [(decode, prior and prior.weight) for decode, prior in variants] == [
        ("free", None),
        ("exact", None),
        ("exact", 2.0),
    ]
    ((_, prior),) = model_variants([], "popularity", [], dataset, SPLIT)
    assert prior is not None
    assert (prior.name, prior.weight) == ("popularity", None)
    assert np.exp(prior.log_prob(np.array([], np.int32))).sum() == pytest.approx(1)


def test_hard_negatives_come_from_a_baseline() -> None:
    dataset = dataset_of([(0, 0, 0)])
    found = negatives_of("popularity", dataset, SPLIT)
    assert isinstance(found, tuple)
    name, scores_of = found
    assert name == "popularity"
    assert scores_of(np.array([], np.int32)).argmax() == 1
    prior = negatives_of("prior", dataset, SPLIT)
    assert isinstance(prior, tuple)
    assert math.isfinite(prior[1](np.array([1], np.int32)).max())
    assert negatives_of("random", dataset, SPLIT) is None
    assert isinstance(negatives_of("week-popularity", dataset, SPLIT), WeekPopularity)
    with pytest.raises(UsageError, match="`negatives` must be random, week-popularity or the name of a baseline"):
        negatives_of("free", dataset, SPLIT)


def test_a_file_of_scores_has_a_name(tmp_path: Path) -> None:
    save_scores(tmp_path / "s.npz", np.zeros((5, N_ITEMS)), SPLIT)
    assert external_ranker(f"mine={tmp_path / 's.npz'}", SPLIT, "test", fit_first=False).name == "mine"
    for text in ("mine", "=s.npz", "mine="):
        with pytest.raises(UsageError, match=f"`scores` must be NAME=FILE.npz, got '{text}'"):
            external_ranker(text, SPLIT, "test", fit_first=False)
