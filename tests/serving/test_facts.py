"""What facts in common do to scores: against loops over the rows of the catalog, and every title's own score."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge import Recommender
from genrec_edge.catalog import edit
from genrec_edge.errors import UsageError
from genrec_edge.prior import fact_cache
from tests.support.facts import Film, build_films, facts_in_common, random_films
from tests.support.prior_files import log_priors
from tests.support.recommenders import NOISE, ids

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.records import Result

WEIGHT = 20.0
N_FILMS = 40
HISTORY = ("f3", "f31", "f8")
FILMS = random_films(random.Random(6), N_FILMS)

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return build_films(FILMS, tmp_path / "films.db")


def expected(films: list[Film] = FILMS, history: tuple[str, ...] = HISTORY) -> dict[str, float]:
    """Return the nats of facts in common of each item, by its id."""
    found = facts_in_common(films, [int(item_id[1:]) for item_id in history])
    return {f"f{i}": WEIGHT * nats for i, nats in enumerate(found)}


def shares(result: Result) -> dict[str, float | None]:
    return {r.item.id: r.facts for r in result.items}


@pytest.mark.parametrize("score", ["vocabulary", "catalog"])
def test_the_search_is_exact_with_facts(tiny_llama: Path, path: Path, score: Any) -> None:
    """The model says the log-probability of every title, the loops the rest: the k best of the sums come back."""
    with Recommender.open(tiny_llama, path, n_threads=1, score=score) as plain:
        alone = {r.item.id: r.logprob for r in plain.recommend(HISTORY, k=N_FILMS - 3).items}
        assert "facts_weight" not in plain.session.describe_model()
    truth = {item_id: logprob + expected()[item_id] for item_id, logprob in alone.items()}
    with Recommender.open(tiny_llama, path, n_threads=1, score=score, facts_weight=WEIGHT) as r:
        every = r.recommend(HISTORY, k=N_FILMS - 3)
        assert every.model["facts_weight"] == WEIGHT
        assert shares(every) == pytest.approx({item_id: expected()[item_id] for item_id in alone}, abs=1e-9)
        assert {i.item.id: i.bias for i in every.items} == shares(every)
        rounding: dict[str, Any] = {"abs": NOISE, "rel": 1e-5}
        assert {i.item.id: i.score for i in every.items} == pytest.approx(truth, **rounding)
        for k in (1, 5, 12):
            top = r.recommend(HISTORY, k=k)
            assert top.exact
            best = sorted(truth.values(), reverse=True)[:k]
            assert [i.score for i in top.items] == pytest.approx(best, **rounding)
            assert len(set(ids(top))) == k
    changed = sorted(alone, key=lambda item_id: -alone[item_id])[:5]
    assert changed != sorted(truth, key=lambda item_id: -truth[item_id])[:5]  # facts matter


def test_facts_stand_beside_conditions_candidates_reasons_and_no_history(tiny_llama: Path, path: Path) -> None:
    with Recommender.open(tiny_llama, path, n_threads=1, facts_weight=WEIGHT) as r:
        where = r.recommend(HISTORY, k=3, where="year > 1980")
        assert {item.item.year is not None and item.item.year > 1980 for item in where.items} == {True}
        assert shares(where) == pytest.approx({item_id: expected()[item_id] for item_id in ids(where)})
        ranked = r.rerank(["f1", "f3", "f20"], HISTORY)
        assert shares(ranked) == pytest.approx({item_id: expected()[item_id] for item_id in ("f1", "f3", "f20")})
        assert set(shares(r.recommend(k=5)).values()) == {0}
        explained = r.recommend(HISTORY, k=2, explain=True)
        assert shares(explained) == shares(r.recommend(HISTORY, k=2))
        free = r.recommend(HISTORY, k=2, decode="free", seed=1)
        assert all(item.facts is None for item in free.items)


def test_what_a_title_adds_includes_its_facts(tiny_llama: Path, path: Path) -> None:
    with Recommender.open(tiny_llama, path, n_threads=1, facts_weight=1000.0) as r:
        (best,) = r.recommend(HISTORY, k=1, explain=True).items
    with_all = facts_in_common(FILMS, [3, 31, 8])[int(best.item.id[1:])]
    for reason in best.reasons:
        without = [int(item_id[1:]) for item_id in HISTORY if item_id != reason.item.id]
        gain = 1000 * (with_all - facts_in_common(FILMS, without)[int(best.item.id[1:])])
        assert reason.nats == pytest.approx(gain, abs=100)  # the model's part is smaller
    assert best.reasons


def test_clones_and_pools_answer_as_one_session(tiny_llama: Path, path: Path) -> None:
    histories = [[f"f{i}", f"f{i + 9}"] for i in range(6)]
    with Recommender.open(tiny_llama, path, n_threads=2, facts_weight=WEIGHT) as r:
        many = r.recommend_many(histories, k=4)
        single = [r.recommend(history, k=4) for history in histories]
    assert [ids(result) for result in many] == [ids(result) for result in single]
    assert [shares(result) for result in many] == [shares(result) for result in single]


def test_facts_are_added_to_a_prior_and_a_calibration(tiny_llama: Path, tricky_path: Path, prior_path: Path) -> None:
    history = ["004", "017"]
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, facts_weight=WEIGHT) as r:
        facts = shares(r.recommend(history, k=30))
    options: dict[str, Any] = {"prior": prior_path, "prior_weight": 2.0, "facts_weight": WEIGHT}
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, **options) as r:
        found = r.recommend(history, k=58).items
        priors = log_priors(prior_path, history)
        assert {i.item.id: i.bias for i in found} == pytest.approx(
            {i.item.id: 2 * priors[i.item.id] + (i.facts or 0) for i in found}
        )
        assert facts.items() <= {i.item.id: i.facts for i in found}.items()
        r.calibrate(0.5)
        assert [i.facts for i in r.recommend(history, k=58).items if i.item.id == "001"] == [
            i.facts for i in found if i.item.id == "001"
        ]


def test_a_title_is_reachable_as_soon_as_it_is_added(tiny_llama: Path, path: Path) -> None:
    """Nobody has met it, and the model of random weights knows nothing of it."""
    with Recommender.open(tiny_llama, path, n_threads=1, facts_weight=100.0) as r:
        before = ids(r.recommend(HISTORY, k=5))
        twin = FILMS[8]
        edit.add_item(path, "A Quite New One", id="new", year=twin.year, columns=_cells(twin))
        (best, *_) = r.recommend(HISTORY, k=5).items
        assert (best.item.id, best.item.id in before) == ("new", False)
        films = [*FILMS, Film("A Quite New One", twin.year, twin.columns)]
        assert best.facts == pytest.approx(100 * facts_in_common(films, [3, 31, 8])[-1])
        edit.remove(path, ["new"])
        assert ids(r.recommend(HISTORY, k=5)) == before


def _cells(film: Film) -> dict[str, Any]:
    return {name: "|".join(values) for name, values in film.columns.items() if values}


def test_without_a_weight_nothing_is_read(
    tiny_llama: Path, path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("facts are read")

    monkeypatch.setattr(fact_cache, "load", refuse)
    with Recommender.open(tiny_llama, path, n_threads=1) as r:
        result = r.recommend(HISTORY, k=3)
    assert [(item.facts, item.bias) for item in result.items] == [(None, 0.0)] * 3
    assert not list(own_home.rglob("facts"))
    with pytest.raises(AssertionError, match="facts are read"):
        Recommender.open(tiny_llama, path, n_threads=1, facts_weight=WEIGHT)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "x"])
def test_weights_that_make_no_sense_are_refused(tiny_llama: Path, path: Path, weight: Any) -> None:
    with pytest.raises(UsageError, match="`facts_weight` must be"):
        Recommender.open(tiny_llama, path, n_threads=1, facts_weight=weight)
