"""The default model as a new user has it: made on arrival from what the package ships, and as good as its card says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge import Recommender
from genrec_edge.convert.pipeline.shipped_model import shipped_adapter_path
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import split_of
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.runner import evaluate
from genrec_edge.evaluation.systems import baseline_rankers
from genrec_edge.hub.store import ModelStore, resolve_model

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model
USERS = 200


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    """What was measured with all users, as `genrec-edge evaluate --plot` writes it; see the README beside it."""
    document: dict[str, Any] = json.loads((shipped_adapter_path("genrec-films") / "evaluation.json").read_bytes())
    return document


def test_it_is_as_good_as_its_card_says_and_better_than_popularity(
    default_model: Path, real_models_path: Path, ml_100k: Path, card: dict[str, Any]
) -> None:
    dataset = load(ml_100k)
    split = split_of(dataset, "leave-one-out", "file")
    model_file = resolve_model("genrec-films", ModelStore(real_models_path))
    report = evaluate(
        split, [*baseline_rankers(["popularity"], dataset, split), LlmRanker(model_file, dataset)], users=USERS
    )
    popularity, tuned = report.systems
    said = next(system for system in card["systems"] if system["name"] == "genrec-films")
    for metric in ("hr@10", "ndcg@10"):
        mean, low, high = (said["metrics"][metric][part] for part in ("mean", "low", "high"))
        widened = (high - low) * (card["protocol"]["users"] / USERS) ** 0.5
        assert abs(tuned.means[metric].mean - mean) < widened
        assert tuned.means[metric].mean > 1.5 * popularity.means[metric].mean
    assert tuned.exact == 1
    assert not any("may contain the targets" in note for note in report.notes())
    others = replace(report, split=split_of(dataset, "leave-one-out", "item").card())
    assert any(
        note.startswith("genrec-films was tuned on leave-one-out, ties by file order") for note in others.notes()
    )


def test_it_knows_what_goes_together_in_the_shipped_catalog(default_model: Path) -> None:
    """Among twenty-eight thousand films, most of which nobody in its training data has seen."""
    with Recommender.open(default_model) as recommender:
        cartoons = recommender.recommend(["Toy Story", "Aladdin", "The Lion King"])
        action = recommender.recommend(["Die Hard", "Speed", "The Rock"])
    assert cartoons.exact
    assert action.exact
    titles = [{found.item.title for found in result.items} for result in (cartoons, action)]
    assert titles[0] & {"Beauty and the Beast", "Cinderella", "Pinocchio", "Dumbo", "Mary Poppins"}
    assert len(titles[0] & titles[1]) < 5


def test_its_adapter_says_what_it_was_trained_on() -> None:
    folder = shipped_adapter_path("genrec-films")
    record = json.loads((folder / "genrec_edge.json").read_bytes())
    assert (record["data"], record["split"], record["ties"]) == ("ml-100k", "leave-one-out", "file")
    text = (folder / "README.md").read_text(encoding="utf-8")
    for word in ("MovieLens", "GroupLens", "commercial", "seed", "genrec-edge train"):
        assert word in text
