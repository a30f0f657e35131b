"""The report of an evaluation: paired tests, headline, columns and notes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.datasets.split import Split
from genrec_edge.evaluation.conditioning import Conditioner
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.evaluation.ranker import ScoreRanker
from genrec_edge.evaluation.runner import evaluate
from tests.support.evaluation import FIRST, HISTORIES, SECOND, SPLIT, Scripted

if TYPE_CHECKING:
    from genrec_edge.datasets.item_facts import ItemFacts
    from genrec_edge.datasets.split import Split


def test_every_system_is_tested_against_the_best_baseline_and_the_reference() -> None:
    weak = Scripted("weak", {key: [31] for key in HISTORIES}, is_baseline=True)
    report = evaluate(SPLIT, [weak, FIRST, SECOND], reference="second")
    assert report.best_baseline == "first"
    pairs = {(test.system, test.against) for test in report.tests}
    assert pairs == {("weak", "first"), ("second", "first"), ("weak", "second"), ("first", "second")}
    found = {(test.system, test.against): test.results["hr@10"] for test in report.tests}
    assert found["first", "second"].difference.mean == 3 / 4
    assert found["weak", "second"].p == 1
    # three users differ, all in one direction: of the 8 ways to choose their signs, 2 are as extreme
    assert found["first", "second"].p == pytest.approx(2 / 8, abs=0.02)
    assert evaluate(SPLIT, [SECOND]).best_baseline is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"ties": "item"}, ["first was tuned on leave-one-out, ties by item order, of these data"]),
        ({"split": "all"}, ["first was tuned on all, ties by file order, of these data"]),
        ({"ties": "item", "sha256": "1"}, []),
        (
            {"filters": "rated 7 or higher"},
            ["first was tuned on leave-one-out, rated 7 or higher, ties by file order, of these data"],
        ),
    ],
)
def test_a_model_that_may_have_met_the_targets_is_named(changed: dict[str, str], said: list[str]) -> None:
    asked = Scripted("first", FIRST._answers)
    asked.about = {"tuned_on": {"sha256": "0", "split": "leave-one-out", "ties": "file", **changed}}
    notes = [note for note in evaluate(SPLIT, [asked, SECOND]).notes() if "was tuned on" in note]
    assert [
        note.removesuffix(": its training data may contain the targets of this evaluation") for note in notes
    ] == said


def test_the_report_says_the_split_its_ties_and_the_protocol() -> None:
    document = evaluate(SPLIT, [FIRST], users=3, seed=7).to_json()
    assert document["split"] == json.loads(json.dumps(SPLIT.card()))
    assert document["protocol"] == {
        "target": "test",
        "candidates": None,
        "k": 20,
        "users": 3,
        "seed": 7,
        "seen": "removed",
        "equal scores": "mean rank",
    }
    text = evaluate(SPLIT, [FIRST, SECOND]).markdown()
    assert "made, leave-one-out, ties by file order: the test items of 4 users, all 40 items ranked" in text
    assert "| first | **.7500 ±" in text
    assert "second against first: HR@10 -0.7500" in text


@pytest.mark.slow
def test_short_answers_among_candidates_have_the_figures_they_can_have(split: Split) -> None:
    systems = [ScoreRanker("a", lambda: lambda history: np.arange(24.0))]
    short, longer = (evaluate(split, systems, candidates=5, k=k) for k in (3, 20))
    assert short.columns == ("system", "HR@1", "NDCG@3", "HR@3", "MRR@3", "long", "p50", "users/s")
    # All six are among the first ten, and all ten of the last ones are: nothing is said of HR@10.
    assert longer.columns == (*short.columns[:4], "HR@5", "MRR@3", "MRR@5", "MRR@10", *short.columns[5:])
    assert "HR@10" not in evaluate(split, systems, candidates=9).columns
    assert "HR@10" in evaluate(split, systems, candidates=10).columns
    assert [len(row) for report in (short, longer) for row in report.rows()] == [8, 11]
    (a,), (b,) = short.systems, longer.systems
    assert (a.means["ndcg@3"], a.means["mrr@3"]) == (b.means["ndcg@3"], b.means["mrr@3"])
    assert (a.valid, set(a.means)) == (1, {f"{m}@{k}" for m in ("hr", "ndcg", "mrr") for k in (1, 3)})
    assert next(iter(a.segments.values())).means.keys() == {"hr@1", "ndcg@3", "hr@3", "mrr@3"}


@pytest.mark.slow
def test_a_report_says_that_vague_words_do_not_name_what_fits_first(split: Split, item_facts: ItemFacts) -> None:
    def notes(intent: Any, *, fit_first: bool) -> str:
        system = ScoreRanker("a", lambda: lambda history: np.arange(24.0), fit_first=fit_first)
        return " ".join(
            evaluate(split, [system], candidates=5, conditioner=Conditioner(item_facts, intent=intent)).notes()
        )

    assert "fit first: items of the genre that the vague words" in notes("vague", fit_first=True)
    assert "fit first" in notes("honest-vague", fit_first=True)
    assert "fit first" not in notes("specific", fit_first=True) + notes("vague", fit_first=False)


def test_the_report_marks_oracles_and_looks_at_short_lists(split: Split, item_facts: ItemFacts) -> None:
    systems = [ScoreRanker("a", lambda: lambda history: np.arange(24.0))]
    report = evaluate(
        split,
        systems,
        candidates=5,
        conditioner=Conditioner(item_facts, "none", "vague"),
        negatives=("a", lambda h: np.arange(24.0)),
    )
    headline = report.headline()
    assert "1 + 5 items ranked, the best of a" in headline
    assert headline.endswith("preference: none; intention: vague (oracle: made of the target)")
    assert report.columns[1:3] == ("HR@1", "NDCG@3")
    (system,) = report.to_json()["systems"]
    ranks = np.array([1.0 + sum(c > t for c in pool) for t, pool in _asked(split)])
    assert system["metrics"]["hr@3"]["mean"] == pytest.approx((ranks <= 3).mean())
    assert system["metrics"]["mrr@3"]["mean"] == pytest.approx(np.where(ranks <= 3, 1 / ranks, 0).mean())
    assert system["segments"]["history > 50 events"]["users"] == 0
    honest = evaluate(split, systems, candidates=5, conditioner=Conditioner(item_facts, intent="honest-vague"))
    assert "oracle" not in honest.headline()
    assert "oracle" not in evaluate(split, systems).headline()


def _asked(split: Split) -> list[tuple[int, list[int]]]:
    asked = cases_of(split, candidates=5, negative_scores=lambda _: np.arange(24.0))
    return list(zip(asked.targets.tolist(), [pool.tolist() for pool in asked.candidates or ()], strict=True))
