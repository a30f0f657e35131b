"""What the mixture does to scores: against loops over the rows of the catalog, and every title's own score."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge import Recommender
from genrec_edge.catalog import edit, writer
from genrec_edge.catalog.titles import key
from genrec_edge.errors import UsageError
from genrec_edge.gguf.items_met import hash_of, to_text
from genrec_edge.prior import fact_cache
from tests.support.facts import Film, build_films, facts_in_common, random_films
from tests.support.recommenders import NOISE, ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from genrec_edge.records import Result

WEIGHT = 20.0
N_FILMS = 40
HISTORY = ("f3", "f31", "f8")
FILMS = random_films(random.Random(6), N_FILMS)
ROUNDING: dict[str, Any] = {"abs": NOISE, "rel": 1e-5}

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Returns films of which no person is known to have liked any: facts are all there is."""
    return build_films(FILMS, tmp_path / "films.db")


def log_mixture(films: list[Film] = FILMS, history: tuple[str, ...] = HISTORY) -> dict[str, float]:
    """Return the log-probability of each item by .91 times its facts, over all items."""
    found = [0.91 * nats for nats in facts_in_common(films, [int(item_id[1:]) for item_id in history])]
    rest = math.log(sum(map(math.exp, found)))
    return {f"f{i}": nats - rest for i, nats in enumerate(found)}


def biases(result: Result) -> dict[str, float]:
    return {r.item.id: r.bias for r in result.items}


@pytest.mark.parametrize("score", ["vocabulary", "catalog"])
def test_the_search_is_exact(tiny_llama: Path, path: Path, score: Any) -> None:
    """The model says the log-probability of every title, the loops the rest: the k best of the sums come back."""
    with Recommender.open(tiny_llama, path, n_threads=1, score=score, prior_kind="none") as plain:
        alone = {r.item.id: r.logprob for r in plain.recommend(HISTORY, k=N_FILMS - 3).items}
        assert "prior" not in plain.session.describe_model()
    truth = {item_id: logprob + WEIGHT * log_mixture()[item_id] for item_id, logprob in alone.items()}
    with Recommender.open(tiny_llama, path, n_threads=1, score=score, prior_weight=WEIGHT) as r:
        every = r.recommend(HISTORY, k=N_FILMS - 3)
        about = {name: value for name, value in every.model.items() if name.startswith("prior")}
        assert about == {"prior": "mixture", "prior_facts": 0.91, "prior_weight": WEIGHT}
        expected = {item_id: WEIGHT * log_mixture()[item_id] for item_id in alone}
        assert biases(every) == pytest.approx(expected, abs=1e-9)
        assert {i.item.id: i.prior for i in every.items} == pytest.approx(
            {item_id: log_mixture()[item_id] for item_id in alone}
        )
        assert {i.item.id: i.score for i in every.items} == pytest.approx(truth, **ROUNDING)
        for k in (1, 5, 12):
            top = r.recommend(HISTORY, k=k)
            assert top.exact
            assert [i.score for i in top.items] == pytest.approx(sorted(truth.values(), reverse=True)[:k], **ROUNDING)
            assert len(set(ids(top))) == k
    changed = sorted(alone, key=lambda item_id: -alone[item_id])[:5]
    assert changed != sorted(truth, key=lambda item_id: -truth[item_id])[:5]  # the mixture matters


def test_parts_say_what_makes_the_difference_of_two_items(tiny_llama: Path, path: Path) -> None:
    with Recommender.open(tiny_llama, path, n_threads=1, prior_weight=WEIGHT) as r:
        best, *rest = r.recommend(HISTORY, k=12).items
        facts = [0.91 * WEIGHT * nats for nats in facts_in_common(FILMS, [3, 31, 8])]
    assert set(best.parts) == {"model", "facts"}
    assert best.parts["facts"] == pytest.approx(facts[int(best.item.id[1:])] - sum(facts) / N_FILMS)
    assert best.parts["model"] == pytest.approx(best.logprob + math.log(N_FILMS))
    for other in rest:
        assert sum(best.parts.values()) - sum(other.parts.values()) == pytest.approx(best.score - other.score)


def test_it_stands_beside_conditions_candidates_reasons_and_no_history(tiny_llama: Path, path: Path) -> None:
    with Recommender.open(tiny_llama, path, n_threads=1, prior_weight=WEIGHT) as r:
        where = r.recommend(HISTORY, k=3, where="year > 1980")
        assert {item.item.year is not None and item.item.year > 1980 for item in where.items} == {True}
        expected = {item_id: WEIGHT * nats for item_id, nats in log_mixture().items()}
        assert biases(where) == pytest.approx({item_id: expected[item_id] for item_id in ids(where)})
        ranked = r.rerank(["f1", "f3", "f20"], HISTORY)
        assert biases(ranked) == pytest.approx({item_id: expected[item_id] for item_id in ("f1", "f3", "f20")})
        nothing = r.recommend(k=5)  # without a history nothing is in common, and nobody is known
        assert {(item.bias, item.prior, len(item.parts)) for item in nothing.items} == {(0.0, None, 0)}
        explained = r.recommend(HISTORY, k=2, explain=True)
        assert biases(explained) == biases(r.recommend(HISTORY, k=2))
        free = r.recommend(HISTORY, k=2, decode="free", seed=1)
        assert all(not item.parts for item in free.items)


def test_what_a_title_adds_includes_its_part_of_the_mixture(tiny_llama: Path, path: Path) -> None:
    with Recommender.open(tiny_llama, path, n_threads=1, prior_weight=1000.0) as r:
        (best,) = r.recommend(HISTORY, k=1, explain=True).items
    with_all = log_mixture()[best.item.id]
    for reason in best.reasons:
        without = tuple(item_id for item_id in HISTORY if item_id != reason.item.id)
        gain = 1000 * (with_all - log_mixture(history=without)[best.item.id])
        assert reason.nats == pytest.approx(gain, abs=100)  # the model's part is smaller
    assert best.reasons


def test_clones_and_pools_answer_as_one_session(tiny_llama: Path, path: Path) -> None:
    histories = [[f"f{i}", f"f{i + 9}"] for i in range(6)]
    with Recommender.open(tiny_llama, path, n_threads=2, prior_weight=WEIGHT) as r:
        many = r.recommend_many(histories, k=4)
        single = [r.recommend(history, k=4) for history in histories]
    assert [ids(result) for result in many] == [ids(result) for result in single]
    assert [biases(result) for result in many] == [biases(result) for result in single]


def test_own_counts_are_part_of_it(tiny_llama: Path, tricky_path: Path, prior_path: Path) -> None:
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, prior=prior_path) as r:
        result = r.recommend(["004", "017"], k=5)
        about = result.model
        assert (about["prior"], about["prior_near"], about["prior_data"]) == ("mixture", 0.56, about["prior_data"])
        assert {"near", "ease", "facts"} <= set(result.items[0].parts)
        r.calibrate(0.5)
        assert set(result.items[0].parts) == set(r.recommend(["004", "017"], k=5).items[0].parts)


def test_a_title_is_reachable_as_soon_as_it_is_added(tiny_llama: Path, path: Path) -> None:
    """Nobody has met it, and the model of random weights knows nothing of it."""
    with Recommender.open(tiny_llama, path, n_threads=1, prior_weight=100.0) as r:
        before = ids(r.recommend(HISTORY, k=5))
        twin = FILMS[8]
        edit.add_item(path, "A Quite New One", id="new", year=twin.year, columns=_cells(twin))
        (best, *_) = r.recommend(HISTORY, k=5).items
        assert (best.item.id, best.item.id in before) == ("new", False)
        edit.remove(path, ["new"])
        assert ids(r.recommend(HISTORY, k=5)) == before


def _cells(film: Film) -> dict[str, Any]:
    return {name: "|".join(values) for name, values in film.columns.items() if values}


def test_a_catalog_that_has_nothing_of_it_leaves_the_model_alone(tiny_llama: Path, tmp_path: Path) -> None:
    titles = ["Qqqa", "Wwwb", "Eeec", "Rrrd", "Ttte"]
    (tmp_path / "bare.csv").write_text("\n".join(["title", *titles]), encoding="utf-8")
    writer.build(tmp_path / "bare.csv", tmp_path / "bare.db")
    found = []
    for kind in ("none", None):
        with Recommender.open(tiny_llama, tmp_path / "bare.db", n_threads=1, prior_kind=kind) as r:
            found.append([(i.item.title, i.score, i.bias) for i in r.recommend(["Qqqa"], k=4).items])
    assert found[0] == found[1]


def test_how_well_known_an_item_is_counts_without_a_history(tiny_llama: Path, tmp_path: Path) -> None:
    rows = ["title,known", "Qqqa,0", "Wwwb,100", "Eeec,50", "Rrrd,"]
    (tmp_path / "known.csv").write_text("\n".join(rows), encoding="utf-8")
    writer.build(tmp_path / "known.csv", tmp_path / "known.db")
    with Recommender.open(tiny_llama, tmp_path / "known.db", n_threads=1, prior_weight=1000.0) as r:
        assert [i.item.title for i in r.recommend(k=2).items] == ["Wwwb", "Eeec"]


def test_the_model_asked_alone_reads_nothing(
    tiny_llama: Path, path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("facts are read")

    monkeypatch.setattr(fact_cache, "load", refuse)
    with Recommender.open(tiny_llama, path, n_threads=1, prior_kind="none") as r:
        result = r.recommend(HISTORY, k=3)
    assert [(dict(item.parts), item.bias) for item in result.items] == [({}, 0.0)] * 3
    assert not list(own_home.rglob("facts")) + list(own_home.rglob("likes"))
    with pytest.raises(AssertionError, match="facts are read"):
        Recommender.open(tiny_llama, path, n_threads=1)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "x"])
def test_weights_that_make_no_sense_are_refused(tiny_llama: Path, path: Path, weight: Any) -> None:
    with pytest.raises(UsageError, match="`prior_weight` must be"):
        Recommender.open(tiny_llama, path, n_threads=1, prior_weight=weight)


def test_a_model_says_what_it_met(residual_model: Callable[[Mapping[str, Any]], Path], path: Path) -> None:
    met = [FILMS[3], FILMS[8], *FILMS[20:]]
    record = {"objective": "catalog", "items_met": to_text(hash_of(key(f.title), f.year) for f in met)}
    with Recommender.open(residual_model(record), path, n_threads=1, prior_weight=WEIGHT) as r:
        result = r.recommend(HISTORY, k=20)
    titles = {(key(f.title), f.year) for f in met}
    assert [i.met for i in result.items] == [(key(i.item.title), i.item.year) in titles for i in result.items]
    assert {True, False} == {i.met for i in result.items}
    assert result.history_met == sum((key(FILMS[i].title), FILMS[i].year) in titles for i in (3, 31, 8))
