"""The task forms on a random LLaMA, beside its logits read one prompt at a time; and what they refuse."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge import Recommender
from genrec_edge.catalog.facts import facts_text
from genrec_edge.catalog.writer import build
from genrec_edge.decoding import prompts
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.engine.llama_engine import MAX_RUN
from genrec_edge.errors import ModelInvalidError, NothingToRecommendError, UsageError
from genrec_edge.options import Request
from genrec_edge.profiles.tastes import profile_text
from genrec_edge.records import Fact
from genrec_edge.serving import describe
from genrec_edge.serving.explain import LEAST_NATS
from genrec_edge.serving.judge import probability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.coordinates import CatalogRow


TITLES = ("Alien", "Aliens", "Heat", "Heat Wave", "Up", "Jaws", "Ran", "Fargo", "Big", "Brazil", "Rocky", "Rocky II")
HISTORY = ("Alien", "Jaws", "Big")
TOLD: dict[str, Any] = {"preference": "loud ones", "intent": "drama", "context": {"when": "now"}}


@pytest.fixture(scope="module")
def catalog_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns twelve films of three genres, two decades and a few directors."""
    folder = tmp_path_factory.mktemp("films")
    lines = ["id,title,year,genres,director"]
    for i, title in enumerate(TITLES):
        genres = ("Drama|War", "Comedy", "Horror|Drama")[i % 3]
        lines.append(f"f{i},{title},{1978 + 5 * (i % 4)},{genres},{('Ann Bee', 'Cy Dee')[i % 2]}")
    (folder / "films.csv").write_text("\n".join(lines), encoding="utf-8")
    build(folder / "films.csv", folder / "films.db", lists=("genres", "director"))
    return folder / "films.db"


@pytest.fixture(scope="module")
def recommender(tiny_llama: Path, catalog_path: Path) -> Iterator[Recommender]:
    with Recommender.open(tiny_llama, catalog_path, n_threads=1, score="vocabulary") as opened:
        yield opened


@pytest.fixture(scope="module")
def logits_after(tiny_llama: Path) -> Iterator[Callable[[Sequence[int]], NDArray[np.float64]]]:
    """Returns the logits after each token of a sequence, evaluated on its own."""
    with closing(FullLogitsModel(Model(tiny_llama), n_ctx=1024, n_threads=1)) as forward:
        yield lambda token_ids: forward.logits(token_ids).astype(np.float64)


def told_ids(
    r: Recommender, history: Sequence[str] = HISTORY, after: Sequence[prompts.Part[CatalogRow]] = (), **said: Any
) -> list[int]:
    """Return a prompt put together from its texts alone."""
    model = r.session.engine.model
    lines = [f"## Taste: {said['preference']}"] if "preference" in said else []
    lines += history
    lines += [f"## Now: {', '.join(said['context'].values())}"] if "context" in said else []
    lines += [f"## Wanted: {said['wanted']}"] if "wanted" in said else []
    ids = [] if model.bos_id is None else [model.bos_id]
    ids += model.tokenize(prompts.INSTRUCTION)
    for line in lines:
        mark, colon, rest = line.partition(":") if line.startswith("##") else ("", "", line)
        ids += [*model.tokenize(mark + colon), *model.tokenize(rest)] if mark else model.tokenize(line)
        ids.append(model.newline_id)
    return [*ids, *r.session.prompts.encode(after)]


def log_softmax(row: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(row - np.logaddexp.reduce(row))


def nats_of(r: Recommender, logits_after: Any, prompt: Sequence[int], title: str) -> float:
    """Return the log-probability of a title and its end after a prompt, read off one evaluation of both."""
    path = [*r.session.engine.model.tokenize(title), r.session.engine.model.newline_id]
    rows = logits_after([*prompt, *path])[len(prompt) - 1 : -1]
    return float(sum(log_softmax(row)[token] for row, token in zip(rows, path, strict=True)))


def row_of(r: Recommender, title: str) -> CatalogRow:
    item = r.resolve(title).item
    assert item is not None
    return item.row


def test_reranking_scores_each_candidate_as_if_it_were_alone(recommender: Recommender, logits_after: Any) -> None:
    """Any order, duplicates and seen ones included; what is not in the catalog is said."""
    names = ["Ran", "Alien", "Rocky II", "nothing of this kind", "Heat", "Ran", "f9"]
    result = recommender.rerank(names, HISTORY, **TOLD)
    prompt = told_ids(recommender, preference="loud ones", context={"when": "now"}, wanted="Drama")
    truth = {t: nats_of(recommender, logits_after, prompt, t) for t in ("Ran", "Alien", "Rocky II", "Heat", "Brazil")}
    assert {r.item.title: r.logprob for r in result.items} == pytest.approx(truth, abs=1e-3)
    assert [r.item.title for r in result.items] == sorted(truth, key=lambda t: -truth[t])
    assert [m.input for m in result.left_out] == ["nothing of this kind"]
    dramas = {title for i, title in enumerate(TITLES) if i % 3 != 1}
    assert {r.item.title: r.fits for r in result.items} == {title: title in dramas for title in truth}
    again = recommender.rerank(names[::-1], HISTORY, **TOLD)
    assert [r.item.row for r in again.items] == [r.item.row for r in result.items]


def test_two_are_compared_in_both_orders_and_neither_order_counts(recommender: Recommender, logits_after: Any) -> None:
    found = recommender.compare("Aliens", "Alien", ("Jaws",), **TOLD)
    swapped = recommender.compare("Alien", "Aliens", ("Jaws",), **TOLD)
    assert found.p_a == 1 - swapped.p_a
    assert (found.p_a_first, found.p_a_second) == (1 - swapped.p_a_second, 1 - swapped.p_a_first)
    margins = []
    for first, second in (("Aliens", "Alien"), ("Alien", "Aliens")):
        parts = prompts.pairwise(row_of(recommender, first), row_of(recommender, second))
        prompt = told_ids(
            recommender, ("Jaws",), parts, preference="loud ones", context={"when": "now"}, wanted="Drama"
        )
        model = recommender.session.engine.model
        both = [[*model.tokenize(title), model.newline_id] for title in ("Aliens", "Alien")]
        fork = len(both[1]) - 1  # one goes on where the other ends
        row = logits_after([*prompt, *both[0][:fork]])[-1]
        margins.append(row[both[0][fork]] - row[both[1][fork]])
    assert found.p_a_first == pytest.approx(probability(margins[0]), abs=1e-4)
    assert found.p_a_second == pytest.approx(probability(margins[1]), abs=1e-4)
    assert found.p_a == pytest.approx(probability(sum(margins) / 2), abs=1e-4)
    assert found.agrees == ((margins[0] > 0) == (margins[1] > 0))


@given(margin=st.floats(-1e3, 1e3))
def test_probabilities_of_opposite_odds_are_complements(margin: float) -> None:
    assert probability(margin) == 1 - probability(-margin)
    assert probability(margin) == pytest.approx(0.5 + math.tanh(margin / 2) / 2, abs=1e-12)
    assert probability(margin, (0.5, -1.0)) == probability(0.5 * margin - 1)


def test_titles_longer_than_a_run_are_compared_too(tiny_llama: Path, tmp_path: Path, logits_after: Any) -> None:
    """The question takes several runs, and both titles part near their ends."""
    long = "y " * 150
    (tmp_path / "long.csv").write_text(f"id,title\na,{long}one\nb,{long}two\nc,Alien\n", encoding="utf-8")
    build(tmp_path / "long.csv", tmp_path / "long.db")
    with Recommender.open(tiny_llama, tmp_path / "long.db", n_threads=1, score="vocabulary") as r:
        found = r.compare("a", "b", ("Alien",))
        assert r.compare("b", "a", ("Alien",)).p_a == 1 - found.p_a
        model, titles = r.session.engine.model, (f"{long}one", f"{long}two")
        paths = [model.tokenize(title) for title in titles]
        fork = next(n for n, (x, y) in enumerate(zip(*paths, strict=False)) if x != y)
        odds = []
        for first, second in (titles, titles[::-1]):
            asked = model.tokenize(f"## Either of these:\n{first}\n{second}\n## Rather:\n")
            assert len(asked) > 2 * MAX_RUN
            row = logits_after([*told_ids(r, ("Alien",)), *asked, *paths[0][:fork]])[-1]
            odds.append(row[paths[0][fork]] - row[paths[1][fork]])
    assert found.p_a_first == pytest.approx(probability(odds[0]), abs=1e-4)
    assert found.p_a_second == pytest.approx(probability(odds[1]), abs=1e-4)


def test_a_description_ranks_what_makes_the_history_likelier(recommender: Recommender, logits_after: Any) -> None:
    """Each title alone, without the others; that a director made half of the catalog's films, too, is not said."""
    titles = (*HISTORY, "Ran")
    facts = recommender.session.facts.of([row_of(recommender, title) for title in titles])
    known = {fact for of_one in facts for fact in of_one}
    counts = {fact: sum(fact in of_one for of_one in facts) for fact in known}
    sayable = {fact for fact in known if fact.column in {"genres", "decade"}}
    assert sayable < known

    def nats(**said: Any) -> float:
        prompt = told_ids(recommender, (), **said)
        return sum(nats_of(recommender, logits_after, prompt, title) for title in titles)

    expected = {fact: (nats(wanted=fact.value) - nats()) / len(titles) for fact in sayable}
    found = recommender.describe(titles, k=50)
    assert {trait.fact: trait.nats for trait in found.traits} == pytest.approx(expected, abs=1e-3)
    assert [t.nats for t in found.traits] == sorted((t.nats for t in found.traits), reverse=True)
    assert all(trait.n_items == counts[trait.fact] for trait in found.traits)
    assert found.summary == profile_text(facts, recommender.session.facts.share)
    assert len(recommender.describe(titles, k=2).traits) == 2


def test_people_are_said_of_a_history_only_if_it_has_more_of_them_than_the_catalog() -> None:
    ann, cy, drama, war = (
        Fact("director", "Ann"),
        Fact("director", "Cy"),
        Fact("genres", "Drama"),
        Fact("genres", "War"),
    )
    films = [(drama, ann), (drama, cy), (war, ann), (drama,)]
    assert describe.facts_of_many(films, lambda _: 0.1) == {drama: 3, war: 1, ann: 2}
    assert describe.facts_of_many(films, lambda _: 0.25) == {drama: 3, war: 1}
    assert describe.facts_of_many(films[:2], lambda _: 0.1) == {drama: 2, ann: 1, cy: 1}


def phrase_shares(
    r: Recommender, logits_after: Any, prompt: Sequence[int], phrases: Sequence[tuple[Fact, ...]]
) -> dict[tuple[Fact, ...], float]:
    """Return the share of each phrase: at every token a softmax over what some phrase goes on with."""
    model = r.session.engine.model
    paths = {facts: (*model.tokenize(f" {facts_text(facts)}"), model.newline_id) for facts in phrases}
    shares = {}
    for facts, path in paths.items():
        rows, nats = logits_after([*prompt, *path])[len(prompt) - 1 : -1], 0.0
        for n, token in enumerate(path):
            allowed = sorted({other[n] for other in paths.values() if other[:n] == path[:n]})
            nats += log_softmax(rows[n][allowed])[allowed.index(token)]
        shares[facts] = math.exp(nats)
    return shares


def test_every_query_finds_the_item_and_says_how_many_more(recommender: Recommender, logits_after: Any) -> None:
    item, found = recommender.queries("Ran", k=50)
    row = row_of(recommender, "Ran")
    assert item.title == "Ran"
    facts = set(recommender.session.facts.of([row])[0])
    assert facts == {
        Fact("genres", "Drama"),
        Fact("genres", "War"),
        Fact("director", "Ann Bee"),
        Fact("decade", "1980s"),
    }
    phrases = [p.facts for p in found]
    assert {len(p) for p in phrases} == {1, 2}
    assert sum(p.share for p in found) == pytest.approx(1, abs=1e-6)
    shares = phrase_shares(recommender, logits_after, told_ids(recommender, (), prompts.asking_for(row)), phrases)
    assert {p.facts: p.share for p in found} == pytest.approx(shares, abs=1e-3)
    score_all = recommender.session.facts.of(list(range(1, 13)))
    for phrase in found:
        having = [r for r, known in enumerate(score_all, start=1) if set(phrase.facts) <= set(known)]
        assert row in having
        assert phrase.n_items == len(having)
        assert phrase.text == facts_text(phrase.facts)


def test_reasons_are_what_scores_lose_without_a_title(recommender: Recommender, logits_after: Any) -> None:
    result = recommender.recommend(HISTORY, k=3, intent="drama", explain=True)
    plain = recommender.recommend(HISTORY, k=3, intent="drama")
    assert [r.item.row for r in result.items] == [r.item.row for r in plain.items]
    for r in result.items:
        whole = nats_of(recommender, logits_after, told_ids(recommender, wanted="Drama"), r.item.title)
        gains = {}
        for title in HISTORY:
            rest = [other for other in HISTORY if other != title]
            gains[title] = whole - nats_of(
                recommender, logits_after, told_ids(recommender, rest, wanted="Drama"), r.item.title
            )
        expected = sorted((t for t in gains if gains[t] >= LEAST_NATS), key=lambda t: -gains[t])
        assert [reason.item.title for reason in r.reasons] == expected
        assert [reason.nats for reason in r.reasons] == pytest.approx([gains[t] for t in expected], abs=2e-3)
    assert any(r.reasons for r in result.items)
    assert all(not r.reasons for r in plain.items)


def test_free_text_that_names_nothing_needs_no_reasons(recommender: Recommender) -> None:
    result = recommender.recommend(HISTORY, k=2, decode="free", explain=True)
    assert result.items == ()


def test_an_intention_narrows_the_answer_and_is_loosened_in_sight(recommender: Recommender) -> None:
    result = recommender.recommend(("Jaws",), k=2, intent="war, directed by Ann Bee")
    assert result.reading is not None
    assert result.where == " AND ".join(result.reading.parts)
    assert result.loosened == ()
    wanted = {Fact("genres", "War"), Fact("director", "Ann Bee")}
    assert all(wanted <= set(f) for f in recommender.session.facts.of([r.item.row for r in result.items]))
    more = recommender.recommend(("Jaws",), k=4, intent="war, directed by Ann Bee, in the 1970s", where="year < 1990")
    assert more.loosened
    assert set(more.loosened) < set(more.reading.parts if more.reading else ())
    assert more.where is not None
    assert more.where.startswith("(year < 1990)")
    assert all((r.item.year or 0) < 1990 for r in more.items)
    assert recommender.recommend(("Jaws",), k=9, intent="war", intent_where=False).where is None
    with pytest.raises(NothingToRecommendError):  # the user's own condition is never given up
        recommender.recommend(("Jaws",), k=9, intent="war", where="year < 1980")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(task="reranking"), "`candidates` must name the items to rerank, got none"),
        (Request(task="reranking", candidates=()), "`candidates` must name the items to rerank, got none"),
        (Request(task="pointwise"), "a pointwise question needs one item as `candidates`, got none"),
        (Request(task="pairwise", candidates=("a",)), "a pairwise question needs two items as `candidates`, got 1"),
        (Request(task="pointwise", candidates=("Heat",)), "a pointwise question is not answered by items"),
        (Request(task="sorting"), "`task` must be one of matching, reranking, pointwise, pairwise, got 'sorting'"),  # type: ignore[arg-type]
        (
            Request(task="reranking", candidates=("Heat",), decode="free"),
            "`decode` must be exact for a reranking question, got 'free'",
        ),
        (Request(preference=" "), "`preference` must not be empty"),
        (Request(intent=""), "`intent` must not be empty"),
    ],
)
def test_what_makes_no_sense_is_one_line(recommender: Recommender, request_: Request, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recommender.answer(request_)


def test_what_cannot_be_asked_is_one_line(recommender: Recommender) -> None:
    with pytest.raises(UsageError, match="are the same item"):
        recommender.compare("Heat", "f2", HISTORY)
    with pytest.raises(UsageError, match="cannot compare what is not surely in the catalog 'films': 'nothing'"):
        recommender.compare("Heat", "nothing", HISTORY)
    with pytest.raises(UsageError, match="`history` must name at least one title to describe, got none"):
        recommender.describe([])
    with pytest.raises(UsageError, match="cannot ask for what is not surely in the catalog"):
        recommender.queries("nothing")
    with pytest.raises(NothingToRecommendError, match="none of the 2 candidates is in the catalog"):
        recommender.rerank(["nothing", "of this"], HISTORY)
    with pytest.raises(UsageError, match="`items` must name at least one item, got none"):
        recommender.judge([], HISTORY)
    with pytest.raises(UsageError, match="got the text"):
        recommender.judge("Heat", HISTORY)


def test_a_model_to_which_yes_and_no_begin_alike_gives_no_verdicts(recommender: Recommender) -> None:
    with pytest.raises(ModelInvalidError, match="yes and no begin alike"):
        recommender.judge(["Heat"], HISTORY)


@pytest.mark.model
def test_verdicts_are_the_odds_of_yes_over_no(smollm2: Path, catalog_path: Path) -> None:
    """On the real model, whose tokens have spaces; several items at once, each as if asked alone."""
    with (
        Recommender.open(smollm2, catalog_path, n_threads=2) as r,
        closing(FullLogitsModel(Model(smollm2), n_ctx=512, n_threads=2)) as forward,
    ):
        found = r.judge(["Heat", "f6", "Alien"], HISTORY, **TOLD)
        assert [j.item.title for j in found] == ["Heat", "Ran", "Alien"]
        yes, no = (r.session.engine.model.tokenize(text)[0] for text in (" yes", " no"))
        for j in found:
            asked = prompts.pointwise(j.item.row)
            prompt = told_ids(r, HISTORY, asked, preference="loud ones", context={"when": "now"}, wanted="Drama")
            row = forward.logits(prompt)[-1]
            # At Q8_0 a batch rounds activations in its own way: see "Float noise" in docs/architecture.md.
            assert j.margin == pytest.approx(float(row[yes] - row[no]), abs=0.15)
            assert j.p_yes == pytest.approx(1 / (1 + math.exp(-j.margin)))
            assert not j.is_calibrated
        r.session.config = replace(r.session.config, judge_calibration=(0.5, -1.0))
        for raw, j in zip(found, r.judge(["Heat", "f6", "Alien"], HISTORY, **TOLD), strict=True):
            assert j.is_calibrated
            assert j.p_yes == pytest.approx(1 / (1 + math.exp(-(0.5 * raw.margin - 1))), abs=1e-3)
