"""What the prompts of an evaluation contain, and what models make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.coordinates import CatalogRows
from genrec_edge.datasets.folder import CATALOG
from genrec_edge.decoding import prompts
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.conditioning import Conditioner, Conditioning, summary_of
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.evaluation.runner import evaluate
from genrec_edge.options import OpenOptions
from genrec_edge.serving.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.item_facts import ItemFacts
    from genrec_edge.datasets.split import Split
    from genrec_edge.evaluation.report import EvaluationReport
    from genrec_edge.hub.store import ModelFile


def text_of(parts: tuple[prompts.PromptLine, ...]) -> str:
    return "".join(f"{part.mark} {part.text}\n" for part in parts if isinstance(part, prompts.PromptLine))


def test_each_preference_tells_what_it_says(item_facts: ItemFacts) -> None:
    history, target = np.array([1, 4, 7, 10, 13], np.int32), 16

    def conditioning(preference: Any, **options: Any) -> Conditioning:
        return Conditioner(item_facts, preference, **options).condition(0, history, target)

    assert conditioning("history").titles.tolist() == history.tolist()
    assert (conditioning("history").before, conditioning("history").after, conditioning("history").matches_intent) == (
        (),
        (),
        None,
    )
    assert conditioning("none").is_anonymous
    words = conditioning("words")
    assert (len(words.titles), words.is_anonymous) == (0, False)
    assert text_of(words.before) == f"## Taste: {item_facts.profile(history.tolist())}\n"
    both = conditioning("both", recent=2)
    assert both.titles.tolist() == [10, 13]
    assert text_of(both.before) == f"## Taste: {item_facts.profile([1, 4, 7])}\n"
    assert conditioning("both", recent=9).before == ()  # nothing is left to be summarised


def test_oracle_intentions_fit_the_target_and_honest_ones_do_not_know_it(item_facts: ItemFacts) -> None:
    history = np.array([1, 4, 7], np.int32)
    for intent in ("vague", "specific"):
        for target in range(24):
            conditioning = Conditioner(item_facts, intent=intent).condition(3, history, target)
            assert conditioning.matches_intent is not None
            assert conditioning.matches_intent[target]
            assert 0 < conditioning.matches_intent.sum() < 24
            assert text_of(conditioning.after).startswith("## Wanted: ")
            honest = [Conditioner(item_facts, intent=f"honest-{intent}").condition(3, history, t) for t in (target, 0)]  # type: ignore[arg-type]
            assert text_of(honest[0].after) == text_of(honest[1].after)
    texts = {
        text_of(Conditioner(item_facts, intent="specific").condition(user, history, 5).after) for user in range(30)
    }
    assert len(texts) > 2


def test_summaries_block_by_block_are_those_of_the_whole(item_facts: ItemFacts) -> None:
    items = list(range(0, 24, 3))
    assert summary_of(item_facts, items, "whole") == item_facts.profile(items)
    assert summary_of(item_facts, items, "recurrent") == item_facts.profile(items)
    assert summary_of(item_facts, items, "hierarchical") == item_facts.profile(items)
    assert summary_of(item_facts, [], "hierarchical") == ""


def test_a_hierarchical_summary_is_of_the_latest_blocks_and_what_is_told_follows(item_facts: ItemFacts) -> None:
    """Of 65 items, the first forty are in none of the five blocks of five."""
    comedies, others = [*range(0, 15, 3)] * 8, [i for i in range(24) if i % 3] + [1, 2, 4, 5, 7, 8, 10, 11, 13]
    assert len(others) == 25
    items = np.array([*comedies, *others], np.int32)
    assert "Comedy" in item_facts.profile(items.tolist())
    conditioning = Conditioner(item_facts, "words", summary="hierarchical").condition(0, items, 18)
    assert text_of(conditioning.before) == f"## Taste: {item_facts.profile(items[40:].tolist())}\n"
    assert "Comedy" not in text_of(conditioning.before)


def test_a_model_is_told_in_its_prompt(
    model_file: ModelFile, dataset: Dataset, split: Split, item_facts: ItemFacts
) -> None:
    """Beside scores of the same prompt, put together by hand, in a session of its own."""
    asked = cases_of(split, users=3, candidates=5, conditioner=Conditioner(item_facts, "both", "specific", recent=2))
    assert asked.conditioning is not None
    with (
        LlmRanker(model_file, dataset, n_threads=1) as ranker,
        LlmRanker(model_file, dataset, n_threads=1, fit_first=True) as first,
        Session.open(OpenOptions(model_file, dataset.path / CATALOG, n_threads=1)) as session,
    ):
        assert first.name.endswith(", fit first")
        answers = ranker.rank_many(asked.histories, 9, candidates=asked.candidates, conditioning=asked.conditioning)
        ordered = first.rank_many(asked.histories, 9, candidates=asked.candidates, conditioning=asked.conditioning)
        for conditioning, answer, sorted_first in zip(asked.conditioning, answers, ordered, strict=True):
            rows = dataset.rows[conditioning.titles]
            row, _ = session.engine.prompt(
                session.prompts.build(CatalogRows(rows), conditioning.before, conditioning.after)[0]
            )
            score_all = session.search(np.zeros(24), 24).score_all(row)
            of_item = {int(r): score_all[p] for p, r in enumerate(session.trie.rows.tolist())}
            truth = [of_item[int(dataset.rows[item])] for item in answer.items]
            assert answer.scores.tolist() == pytest.approx(truth, abs=1e-3)
            assert set(sorted_first.items.tolist()) == set(answer.items.tolist())
            assert conditioning.matches_intent is not None
            fitting = [bool(conditioning.matches_intent[item]) for item in sorted_first.items]
            assert fitting == sorted(fitting, reverse=True)


def test_answers_to_what_was_told_otherwise_are_refused(
    model_file: ModelFile, dataset: Dataset, split: Split, item_facts: ItemFacts, tmp_path: Path
) -> None:
    def run(**options: Any) -> EvaluationReport:
        conditioner = Conditioner(item_facts, **{"preference": "both", "intent": "specific", **options})
        system = LlmRanker(model_file, dataset, n_threads=1)
        return evaluate(split, [system], users=2, candidates=4, k=3, conditioner=conditioner, resume=tmp_path)

    assert "preference: both (whole summary, latest 20 titles); intention: specific (oracle" in run().headline()
    for options, named in (
        ({"summary": "recurrent"}, "protocol.summary differ"),
        ({"recent": 2}, "protocol.recent differ"),
        ({"intent": "honest-specific"}, "protocol.intent differ"),
        ({"preference": "history"}, "protocol.preference, protocol.recent, protocol.summary differ"),
    ):
        with pytest.raises(UsageError, match=named):
            run(**options)
