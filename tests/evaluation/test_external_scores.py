"""Files of scores that another program computed."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.errors import UsageError
from genrec_edge.evaluation.external_scores import read_scores, save_scores
from genrec_edge.evaluation.ranker import ScoreRanker
from genrec_edge.evaluation.runner import evaluate
from tests.support.evaluation import HISTORIES, N_ITEMS, SPLIT

if TYPE_CHECKING:
    from pathlib import Path


def test_scores_of_another_program(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.random((5, N_ITEMS)).astype(np.float32)
    matrix[4] = np.nan  # the fifth user is not asked
    path = tmp_path / "scores.npz"
    save_scores(path, matrix, SPLIT)
    scores_of = read_scores(path, SPLIT, "test")
    (system,) = evaluate(SPLIT, [ScoreRanker("neural", lambda: scores_of)]).systems
    for user, rank in enumerate(system.ranks):
        open_items = [i for i in range(N_ITEMS) if i not in HISTORIES[user]]
        order = sorted(open_items, key=lambda i: -matrix[user, i])
        assert rank == 1 + order.index(SPLIT.test[user])


def test_scores_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    good = np.zeros((5, N_ITEMS), np.float32)

    def refused_with(message: str) -> None:
        with pytest.raises(UsageError, match=message) as raised:
            read_scores(path, SPLIT, "test")
        assert "\n" not in raised.value.message

    refused_with("scores.npz cannot be used")
    os.mkfifo(path)
    refused_with("scores.npz cannot be used")
    path.unlink()
    save_scores(path, good, SPLIT, "validation")
    refused_with("made for another evaluation: target differ")
    save_scores(path, good, replace(SPLIT, ties="item"))
    refused_with(r"split\.ties differ")
    save_scores(path, good[:4], SPLIT)
    refused_with("has scores of shape")
    good[2, 3] = np.nan
    save_scores(path, good, SPLIT)
    refused_with("1 of 4 users have scores that are not numbers")
    np.savez(path, scores=np.zeros((5, N_ITEMS)), card=np.array("{}"))
    refused_with("scores has the shape")
    np.savez(path, scores=np.array([None]), card=np.array("{}"), allow_pickle=True)
    refused_with("is not a file of scores")
    np.savez(path, other=good)
    refused_with("is not a file of scores")
    path.write_bytes(b"no zip")
    refused_with("is not a file of scores")
    save_scores(path, good, SPLIT)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut] + b"\xff" + whole[cut + 1 :])
        with pytest.raises(UsageError):
            read_scores(path, SPLIT, "test")
