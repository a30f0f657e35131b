"""What prompts of an evaluation contain, what systems make of it, and how judges are measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from genrec_edge import cli
from genrec_edge.coordinates import CatalogRow, CatalogRows
from genrec_edge.datasets.folder import CATALOG, load
from genrec_edge.datasets.item_facts import ItemFacts, facts_of
from genrec_edge.datasets.splits import split_of
from genrec_edge.decoding import prompts
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.conditioning import Conditioner, Conditioning, summary_of
from genrec_edge.evaluation.judge_quality import JudgeMargins, collect_margins, judge_quality_of
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.prior_term import PriorTerm
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.evaluation.ranker import ScoreRanker
from genrec_edge.evaluation.runner import evaluate
from genrec_edge.hub.store import ModelFile, ModelStore, resolve_model
from genrec_edge.options import OpenOptions
from genrec_edge.serving.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.splits import Split
    from genrec_edge.evaluation.report import EvaluationReport


@pytest.fixture(scope="module")
def dataset(facts_data: Path) -> Dataset:
    return load(facts_data)


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return split_of(dataset, "leave-one-out", "file")


@pytest.fixture(scope="module")
def item_facts(dataset: Dataset, split: Split) -> ItemFacts:
    return ItemFacts(facts_of(dataset), split.train)


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


def test_hard_negatives_are_the_best_of_a_baseline_that_the_user_never_meets(split: Split) -> None:
    scores = np.random.default_rng(0).random(split.n_items)
    asked = cases_of(split, candidates=3, negative_scores=lambda _history: scores)
    assert asked.candidates is not None
    for user, target, pool in zip(asked.users, asked.targets, asked.candidates, strict=True):
        met = {*split.train[user].tolist(), int(split.validation[user]), int(split.test[user])}
        best = sorted((i for i in range(split.n_items) if i not in met), key=lambda i: -scores[i])[:3]
        assert sorted(pool.tolist()) == sorted([*best, int(target)])
    with pytest.raises(UsageError, match="hard `negatives` need a number of candidates"):
        cases_of(split, negative_scores=lambda _history: scores)


def test_what_fits_comes_first_and_words_are_nothing_to_those_that_count(split: Split, item_facts: ItemFacts) -> None:
    def by_number(history: NDArray[np.int32]) -> NDArray[np.float64]:
        return np.arange(24.0) + (100 if len(history) else 0)

    fits = np.zeros(24, np.bool_)
    fits[[3, 5]] = True
    conditioning = Conditioning(np.empty(0, np.int32), (), (), fits)
    history = np.array([23], np.int32)
    with ScoreRanker("a", lambda: by_number) as plain, ScoreRanker("a", lambda: by_number, fit_first=True) as first:
        assert (plain.name, first.name) == ("a", "a, fit first")
        assert plain.rank(history, 3, conditioning=conditioning).items.tolist() == [22, 21, 20]
        assert plain.rank(history, 3, conditioning=conditioning).scores[0] == 22  # nobody's history is not known
        assert first.rank(history, 4, conditioning=conditioning).items.tolist() == [5, 3, 22, 21]
        assert first.rank(history, 2).items.tolist() == [22, 21]


@pytest.fixture(scope="module")
def model_file(tiny_llama: Path) -> ModelFile:
    return resolve_model(tiny_llama, ModelStore())


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


def test_a_prior_does_not_know_the_history_of_nobody(
    model_file: ModelFile, dataset: Dataset, item_facts: ItemFacts
) -> None:
    """What the prompt contains decides: else the counted prior would give a search the history behind its back."""
    given: list[list[int]] = []

    def log_prob(history: NDArray[np.int32]) -> NDArray[np.float64]:
        given.append(history.tolist())
        return np.zeros(24)

    history = np.array([1, 4, 7], np.int32)
    with LlmRanker(model_file, dataset, prior=PriorTerm("made", log_prob, 1.0), n_threads=1) as ranker:
        for preference in ("none", "words", "history"):
            conditioning = Conditioner(item_facts, preference, "specific").condition(0, history, 10)
            assert not {1, 4, 7} & set(ranker.rank(history, 24, conditioning=conditioning).items.tolist())
    assert given == [[], [1, 4, 7], [1, 4, 7]]


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
        ({"preference": "history"}, "protocol.preference, protocol.summary, protocol.recent differ"),
    ):
        with pytest.raises(UsageError, match=named):
            run(**options)


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
def test_a_model_is_asked_for_verdicts_and_the_line_goes_into_a_record(
    smollm2: Path, facts_data: Path, tmp_path: Path
) -> None:
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
    record = tmp_path / "genrec_edge.json"
    record.write_text('{"score_kind": "catalog"}', encoding="utf-8")
    arguments = ["verdicts", "--data", str(facts_data), "--model", str(smollm2), "--users", "20", "-q"]
    asked_for = ["--record", str(tmp_path), "--plot", str(tmp_path / "r.png"), "--json"]
    result = CliRunner().invoke(cli.app, [*arguments, *asked_for])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    written = json.loads(record.read_text(encoding="utf-8"))
    assert (written["judge_slope"], written["judge_offset"]) == (document["slope"], document["offset"])
    assert written["score_kind"] == "catalog"
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    table = CliRunner().invoke(cli.app, arguments)
    assert "calibration error" in table.stdout
    assert CliRunner().invoke(cli.app, [*arguments, "--record", str(facts_data)]).exit_code == 2
