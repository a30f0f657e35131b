"""Metrics of judges, by hand and for a real model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.coordinates import CatalogRow, CatalogRows
from genrec_edge.datasets.folder import CATALOG, load
from genrec_edge.datasets.splits import split_of
from genrec_edge.decoding import prompts
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.judge_quality import JudgeMargins, collect_margins, judge_quality_of
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.options import OpenOptions
from genrec_edge.serving.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def test_verdicts_by_hand() -> None:
    """Four users, of whom the seed leaves two for the line: figures of the other two, from their numbers alone."""
    users = np.arange(40, dtype=np.int32)
    rng = np.random.default_rng(0)
    met, stranger = rng.normal(1, 1, 40), rng.normal(-1, 1, 40)
    fitted = JudgeMargins(users, met, stranger, met - stranger, met - stranger)
    measured = JudgeMargins(users, met, stranger, np.where(users < 30, 1.0, -1.0), np.where(users % 2, 1.0, -2.0))
    found = judge_quality_of(fitted, measured, seed=1)
    half = set(np.random.default_rng(1).permutation(users)[:20].tolist())
    left = [u for u in range(40) if u not in half]
    assert found.n_users == 20
    right = [(measured.target_first[u] + measured.target_second[u]) / 2 > 0 for u in left]
    assert found.accuracy.mean == pytest.approx(np.mean(right))
    assert found.flips == pytest.approx(
        np.mean([(measured.target_first[u] > 0) != (measured.target_second[u] > 0) for u in left])
    )
    pairs = [(a, b) for a in met[left] for b in stranger[left]]
    assert found.auc == pytest.approx(np.mean([a > b for a, b in pairs]))
    assert json.loads(json.dumps(found.to_json()))["pointwise"]["ece"] == found.error
    same = JudgeMargins(users, met, met, met, met)
    with pytest.raises(UsageError, match="the calibration line cannot be fitted"):
        judge_quality_of(JudgeMargins(users, met + 9, stranger - 9, met, met), same)


def odds_of(
    session: Session, rows: NDArray[np.int64], pair: tuple[CatalogRow, CatalogRow], preferred: CatalogRow
) -> float:
    """Return the log-odds of one title of a pair, in nats, from one plain prompt up to where the two part."""
    (other,) = set(pair) - {preferred}
    ours, theirs = ([*session.title_tokens(row), session.engine.model.newline_id] for row in (preferred, other))
    fork = next(i for i in range(len(ours)) if ours[i] != theirs[i])
    ids, _ = session.prompts.build(CatalogRows(rows), (), prompts.pairwise(*pair))
    logits, _ = session.engine.prompt([*ids, *ours[:fork]])
    return float(logits[ours[fork]] - logits[theirs[fork]])


@pytest.mark.model
def test_margins_are_those_of_each_question_alone(smollm2: Path, facts_data: Path) -> None:
    dataset = load(facts_data)
    split = split_of(dataset, "leave-one-out", "file")
    with Session.open(OpenOptions(smollm2, dataset.path / CATALOG, n_threads=2)) as session:
        asked = collect_margins(session, dataset, split, "test", users=3)
        (user,) = asked.users[:1].tolist()
        q = cases_of(split, users=3, candidates=1)
        assert q.candidates is not None
        history, target = q.histories[0], int(q.targets[0])
        (other,) = (item for item in q.candidates[0].tolist() if item != target)
        rows = [CatalogRow(int(dataset.rows[item])) for item in (target, other)]
        session.engine.prompt(session.prompts.build(CatalogRows(dataset.rows[history]))[0])
        alone = []
        for row in rows:
            ids, _ = session.prompts.build(CatalogRows(dataset.rows[history]), (), prompts.pointwise(row))
            logits, _ = session.engine.prompt(ids)
            yes, no = (session.engine.model.tokenize(text)[0] for text in (prompts.YES, prompts.NO))
            alone.append(float(logits[yes] - logits[no]))
        assert user == int(q.users[0])
        assert [asked.target[0], asked.negative[0]] == pytest.approx(alone, abs=0.2)
        for place, (past, item, pool) in enumerate(zip(q.histories, q.targets.tolist(), q.candidates, strict=True)):
            met, stranger = (CatalogRow(int(dataset.rows[i])) for i in (item, *(i for i in pool.tolist() if i != item)))
            of_met = [odds_of(session, dataset.rows[past], pair, met) for pair in ((met, stranger), (stranger, met))]
            assert [asked.target_first[place], asked.target_second[place]] == pytest.approx(of_met, abs=0.2)
