"""What the mixture does to scores: against loops over the rows of the catalog, and every title's own score."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge import Recommender
from genrec_edge.catalog import edit, writer
from genrec_edge.datasets.histories import user_histories
from genrec_edge.errors import UsageError
from genrec_edge.gguf.items_met import hash_of, to_text
from genrec_edge.prior import fact_cache, like_cache, open_likes
from genrec_edge.prior.mixture import COUNTED, OPEN
from tests.support.facts import Film, facts_in_common, random_films
from tests.support.likes import forget, groups_of, random_likes, write_likes
from tests.support.mixtures import liked_by_loops, mixture_by_loops
from tests.support.priors import EVENTS, built, dataset_of
from tests.support.recommenders import NOISE, ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from genrec_edge.records import Result

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home", "likes")]

N_FILMS, WEIGHT = 40, 2.5
HISTORY = ("f3", "f31", "f8")
FILMS = random_films(random.Random(6), N_FILMS)
KNOWN = [random.Random(7 + i).choice([None, 0, 12, 55.5, 100]) for i in range(N_FILMS)]
LIKED = FILMS[: N_FILMS // 2]
"""The films that the file of liked sets has, too."""
SETS = random_likes(LIKED, random.Random(8))
ROUNDING: dict[str, Any] = {"abs": NOISE, "rel": 1e-5}


@pytest.fixture
def likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(open_likes, "_PATH", tmp_path / "likes.json.xz")
    write_likes(tmp_path / "likes.json.xz", LIKED, SETS)
    yield
    forget()


def build(films: Sequence[Film], path: Path, known: Sequence[float | None] | None = None) -> Path:
    rows = []
    for i, film in enumerate(films):
        row: dict[str, Any] = {"id": f"f{i}", "title": film.title, "year": film.year}
        row |= {name: list(values) for name, values in film.columns.items()}
        rows.append(row if known is None else row | {"known": known[i]})
    source = path.with_suffix(".jsonl")
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    writer.build(source, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return build(FILMS, tmp_path / "films.db", KNOWN)


def numbers(item_ids: Sequence[str]) -> list[int]:
    return [int(item_id[1:]) for item_id in item_ids]


def nats_by_loops(
    history: Sequence[str] = HISTORY, films: Sequence[Film] = FILMS, known: Sequence[float | None] = KNOWN
) -> dict[str, list[float]]:
    """Return what each part gives each film."""
    asked, weights = numbers(history), asdict(OPEN)
    liked = liked_by_loops(groups_of(LIKED, SETS), asked, len(films))
    return {
        "facts": [weights["facts"] * nats for nats in facts_in_common(films, asked)],
        "liked": [weights["liked"] * math.log(0.002 + value) for value in liked],
        "known": [weights["known"] * (value or 0) / 100 for value in known],
    }


def log_mixture(parts: Mapping[str, Sequence[float]]) -> list[float]:
    scores = [sum(nats) for nats in zip(*parts.values(), strict=True)]
    total = math.log(sum(map(math.exp, scores)))
    return [score - total for score in scores]


def assert_parts(result: Result, parts: Mapping[str, Sequence[float]], weight: float, n_items: int = N_FILMS) -> None:
    """Each part is what loops say above the mean of all items, and together they are the score, but for a constant."""
    for item in result.items:
        (i,) = numbers([item.item.id])
        expected = {name: weight * (nats[i] - sum(nats) / n_items) for name, nats in parts.items()}
        expected["model"] = item.logprob + math.log(n_items)
        assert dict(item.parts) == pytest.approx(expected, abs=1e-4)
        assert item.prior == pytest.approx(log_mixture(parts)[i], abs=1e-4)
    first = result.items[0]
    for other in result.items[1:]:
        differences = {name: first.parts[name] - nats for name, nats in other.parts.items()}
        assert sum(differences.values()) == pytest.approx(first.score - other.score, abs=1e-9)
        assert sum(differences.values()) - differences["model"] == pytest.approx(first.bias - other.bias, abs=1e-9)


@pytest.mark.parametrize("score", ["vocabulary", "catalog"])
def test_the_search_is_exact_with_the_mixture(tiny_llama: Path, path: Path, score: Any) -> None:
    """The model says the log-probability of every title, the loops the rest: the k best of the sums come back."""
    with Recommender.open(tiny_llama, path, n_threads=1, score=score, prior_kind="none") as plain:
        alone = {r.item.id: r.logprob for r in plain.recommend(HISTORY, k=N_FILMS - 3).items}
    added = log_mixture(nats_by_loops())
    truth = {item_id: logprob + WEIGHT * added[numbers([item_id])[0]] for item_id, logprob in alone.items()}
    with Recommender.open(tiny_llama, path, n_threads=1, score=score, prior_weight=WEIGHT) as r:
        every = r.recommend(HISTORY, k=N_FILMS - 3)
        assert {i.item.id: i.score for i in every.items} == pytest.approx(truth, **ROUNDING)
        assert_parts(every, nats_by_loops(), WEIGHT)
        for k in (1, 5, 12):
            top = r.recommend(HISTORY, k=k)
            assert top.exact
            assert [i.score for i in top.items] == pytest.approx(sorted(truth.values(), reverse=True)[:k], **ROUNDING)
            assert len(set(ids(top))) == k
        assert_parts(r.recommend(k=9), nats_by_loops(()), WEIGHT)
        described = r.session.describe_model()
    about = {name: value for name, value in described.items() if name.startswith("prior")}
    names = {f"prior_{name}": asdict(OPEN)[name] for name in ("facts", "liked", "known")}
    assert about == {"prior": "mixture", "prior_weight": WEIGHT, **names}
    assert sorted(alone, key=alone.__getitem__)[-5:] != sorted(truth, key=truth.__getitem__)[-5:]  # it matters


@pytest.mark.parametrize("weight", [None, 0.5])
def test_a_model_that_was_tuned_on_a_mixture_has_it_below_its_logits(
    weight: float | None, residual_model: Callable[[Mapping[str, Any]], Path], path: Path
) -> None:
    """With tau 0 the answer is the mixture itself, tempered, over what is not in the history."""
    parts, asked = nats_by_loops(), numbers(HISTORY)
    scores = [(weight or 1.0) * sum(nats) for nats in zip(*parts.values(), strict=True)]
    total = math.log(sum(math.exp(score) for i, score in enumerate(scores) if i not in asked))
    silent = residual_model({"prior": "mixture", "tau": 0.0, "lambda": 1.0})
    with Recommender.open(silent, path, n_threads=1, prior_weight=weight) as recommender:
        every = recommender.recommend(HISTORY, k=N_FILMS - 3)
        assert {"prior_tau", "prior_lambda", "prior_weight"} <= set(recommender.session.describe_model())
    assert [numbers([r.item.id])[0] for r in every.items] == sorted(
        (i for i in range(N_FILMS) if i not in asked), key=lambda i: -scores[i]
    )
    assert [r.score for r in every.items] == pytest.approx(
        [scores[numbers([r.item.id])[0]] - total for r in every.items]
    )
    heard = residual_model({"prior": "mixture", "tau": 0.7, "lambda": 0.8})
    with Recommender.open(heard, path, n_threads=1, prior_weight=weight) as recommender:
        every = recommender.recommend(HISTORY, k=N_FILMS - 3)
        assert math.log(sum(math.exp(r.score) for r in every.items)) == pytest.approx(0, abs=1e-5)
        for item in every.items:
            (i,) = numbers([item.item.id])
            own = {n: 0.8 * (weight or 1.0) * (nats[i] - sum(nats) / N_FILMS) for n, nats in parts.items()}
            assert dict(item.parts) == pytest.approx(
                own | {"model": item.score + math.log(N_FILMS) - sum(own.values())}, abs=1e-4
            )
        assert len({round(item.parts["model"], 3) for item in every.items}) > N_FILMS // 2
        for k in (1, 5, 12):
            top = recommender.recommend(HISTORY, k=k)
            assert top.exact
            assert ids(top) == ids(every)[:k]


def test_a_mixture_of_any_weight_below_the_logits_leaves_scores_that_are_numbers(
    residual_model: Callable[[Mapping[str, Any]], Path], path: Path
) -> None:
    heard = residual_model({"prior": "mixture", "tau": 0.7, "lambda": 1.0})
    scores = [sum(nats) for nats in zip(*nats_by_loops().values(), strict=True)]
    best = max((i for i in range(N_FILMS) if i not in numbers(HISTORY)), key=lambda i: scores[i])
    with Recommender.open(heard, path, n_threads=1, prior_weight=10_000.0) as recommender:
        found = recommender.recommend(HISTORY, k=N_FILMS - 3)
    assert numbers([found.items[0].item.id]) == [best]
    assert all(math.isfinite(item.score) for item in found.items)
    assert len(found.items) == N_FILMS - 3


def test_it_is_what_a_model_is_asked_with_by_default(tiny_llama: Path, path: Path) -> None:
    with Recommender.open(tiny_llama, path, n_threads=1) as r:
        found = r.recommend(HISTORY, k=4)
    assert (found.model["prior"], found.model["prior_weight"]) == ("mixture", 10.0)
    assert_parts(found, nats_by_loops(), 10.0)


def test_none_is_the_model_alone_and_nothing_is_read(
    tiny_llama: Path, path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("it is read")

    monkeypatch.setattr(fact_cache, "load", refuse)
    monkeypatch.setattr(like_cache, "load", refuse)
    with Recommender.open(tiny_llama, path, n_threads=1, prior_kind="none") as r:
        found = r.recommend(HISTORY, k=3)
        assert not any(name.startswith("prior") for name in r.session.describe_model())
    assert [(i.prior, i.bias, dict(i.parts), i.score - i.logprob) for i in found.items] == [(None, 0.0, {}, 0.0)] * 3
    assert not [*own_home.rglob("facts"), *own_home.rglob("likes")]
    with pytest.raises(AssertionError, match="it is read"):
        Recommender.open(tiny_llama, path, n_threads=1)


def test_a_catalog_of_which_nothing_is_known_has_the_scores_of_the_model(tiny_llama: Path, tmp_path: Path) -> None:
    bare = build([Film(title) for title in ("Alien", "Heat", "Ran", "Up", "Big", "M", "Jaws")], tmp_path / "bare.db")
    found = []
    for kind in (None, "none"):
        with Recommender.open(tiny_llama, bare, n_threads=1, prior_kind=kind) as r:
            found.append([r.recommend(history, k=4) for history in ((), ("f1",), ("f2", "f0"))])
    for default, alone in zip(*found, strict=True):
        assert [(i.item, i.score, i.logprob, i.bias, i.prior, dict(i.parts)) for i in default.items] == [
            (i.item, i.score, i.logprob, 0.0, None, {}) for i in alone.items
        ]


def test_conditions_candidates_and_free_text_have_it_where_items_are_ranked(tiny_llama: Path, path: Path) -> None:
    with Recommender.open(tiny_llama, path, n_threads=1, prior_weight=WEIGHT) as r:
        where = r.recommend(HISTORY, k=3, where="year > 1980")
        assert all(item.item.year is not None and item.item.year > 1980 for item in where.items)
        assert_parts(where, nats_by_loops(), WEIGHT)
        assert_parts(r.rerank(["f1", "f3", "f20"], HISTORY), nats_by_loops(), WEIGHT)
        few = r.recommend(("f3",), k=3)
        assert_parts(few, nats_by_loops(("f3",)), WEIGHT)
        free = r.recommend(HISTORY, k=2, decode="free", seed=1)
        assert all(not item.parts and item.prior is None for item in free.items)


def test_a_calibration_changes_the_part_of_the_model_alone(tiny_llama: Path, path: Path) -> None:
    with Recommender.open(tiny_llama, path, n_threads=1, prior_weight=WEIGHT) as r:
        before = {i.item.id: i for i in r.recommend(HISTORY, k=N_FILMS - 3).items}
        r.calibrate(0.5)
        after = {i.item.id: i for i in r.recommend(HISTORY, k=N_FILMS - 3).items}
    assert after.keys() == before.keys()
    for item_id, item in after.items():
        taken_off = before[item_id].bias - item.bias
        assert taken_off < 0  # half of a log-probability
        expected = dict(before[item_id].parts)
        expected["model"] -= taken_off + 0.5 * math.log(N_FILMS)  # above half of an equal chance for all
        assert dict(item.parts) == pytest.approx(expected, **ROUNDING)


def test_clones_and_pools_answer_as_one_session(tiny_llama: Path, path: Path) -> None:
    histories = [[f"f{i}", f"f{i + 9}"] for i in range(6)]
    with Recommender.open(tiny_llama, path, n_threads=2) as r:
        many = r.recommend_many(histories, k=4)
        single = [r.recommend(history, k=4) for history in histories]
    assert [ids(result) for result in many] == [ids(result) for result in single]
    assert [[i.bias for i in result.items] for result in many] == [[i.bias for i in result.items] for result in single]


def test_a_title_is_reachable_as_soon_as_it_is_added(tiny_llama: Path, path: Path) -> None:
    """Nobody has met it, and the model of random weights knows nothing of it."""
    with Recommender.open(tiny_llama, path, n_threads=1, prior_weight=100.0) as r:
        before = ids(r.recommend(HISTORY, k=5))
        twin = FILMS[8]
        cells = {name: "|".join(values) for name, values in twin.columns.items() if values}
        edit.add_item(path, "A Quite New One", id="f40", year=twin.year, columns={**cells, "known": "100"})
        after = r.recommend(HISTORY, k=5)
        films = [*FILMS, Film("A Quite New One", twin.year, twin.columns)]
        assert "f40" not in before
        assert "f40" in ids(after)
        assert_parts(after, nats_by_loops(films=films, known=[*KNOWN, 100]), 100.0, N_FILMS + 1)
        edit.remove(path, ["f40"])
        assert ids(r.recommend(HISTORY, k=5)) == before


def test_own_counts_are_three_parts_more_with_weights_of_their_own(tiny_llama: Path, tmp_path: Path) -> None:
    """The file of counts has the titles under other ids."""
    built(tmp_path / "prior.db", EVENTS)
    dataset = dataset_of(EVENTS)
    films = [Film(title, year) for title, year in dataset.titles]
    catalog = build(films, tmp_path / "own.db")
    lists = [history.tolist() for history in user_histories(dataset, "file")]
    recent = [sum(item == i for _, item, _ in EVENTS) for i in range(len(films))]  # all within seconds
    with Recommender.open(tiny_llama, catalog, n_threads=1, prior=tmp_path / "prior.db", prior_weight=WEIGHT) as r:
        for history in (("f2",), ("f0", "f3"), ("f1", "f2", "f0")):
            found = r.recommend(history, k=len(films) - len(history))
            parts = mixture_by_loops(asdict(COUNTED), numbers(history), films=films, lists=lists, recent=recent)
            assert parts.keys() == {"facts", "near", "ease", "popularity", "trend"}
            assert_parts(found, parts, WEIGHT, len(films))
        assert r.session.describe_model()["prior_events"] == len(EVENTS)
    assert (found.model["prior_near"], found.model["prior_trend"]) == (COUNTED.near, COUNTED.trend)


def test_what_a_model_met_is_said_of_answers_and_histories(
    path: Path, tiny_llama: Path, residual_model: Callable[[Mapping[str, Any]], Path]
) -> None:
    met = {i for i in range(N_FILMS) if i % 3}
    text = to_text(hash_of(FILMS[i].title, FILMS[i].year) for i in met)  # the titles are their own keys
    with Recommender.open(residual_model({"objective": "catalog", "items_met": text}), path, n_threads=1) as r:
        every = r.recommend(HISTORY, k=N_FILMS - 3)
        assert every.model["prior_weight"] == 4.0
        assert {i.item.id for i in every.items if i.met} == {f"f{i}" for i in met} - set(HISTORY)
        assert all(i.met is not None for i in every.items)
        assert [r.recommend(h, k=1).history_met for h in (HISTORY, ("f3",), ("f4", "f5"), ())] == [2, 0, 2, 0]
    with Recommender.open(tiny_llama, path, n_threads=1) as r:
        assert [r.recommend(h, k=1).history_met for h in (HISTORY, ())] == [None, None]
        assert [i.met for i in r.recommend(HISTORY, k=2).items] == [None, None]


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, "x"])
def test_weights_that_make_no_sense_are_refused(tiny_llama: Path, path: Path, weight: Any) -> None:
    with pytest.raises(UsageError, match="`prior_weight` must be"):
        Recommender.open(tiny_llama, path, n_threads=1, prior_weight=weight)
