"""The mixture against loops over its definition, and the one a model is trained with against others counted anew."""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.coordinates import CatalogRows
from genrec_edge.prior import fact_table
from genrec_edge.prior.mixture import COUNTED, OPEN, Mixture, MixtureWeights
from genrec_edge.prior.model import SEEN_LOGPROB, PriorCounts
from tests.support.facts import build_films, random_films
from tests.support.mixtures import as_log_probs, liked_sets_of, mixture_by_loops, random_sets
from tests.support.priors import N_ITEMS, arrays

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.prior.facts import FactIndex

WEIGHTS = MixtureWeights(0.7, 0.4, 1.3, 0.6, 0.2, -0.45, 0.35)
FILMS = random_films(random.Random(4), N_ITEMS)
KNOWN = [0.0, 0.1, 0.9, 1.0, 0.3, 0.3, 0.5]
RECENT = [0, 3, 1, 0, 0, 2, 0]
HISTORIES: tuple[list[int], ...] = ([], [2], [5, 0, 3], [1, 1, 4, 1], [6, 5, 4, 3, 2, 1])


@pytest.fixture
def facts(tmp_path: Path) -> FactIndex:
    with Catalog.open(build_films(FILMS, tmp_path / "films.db")) as catalog:
        return fact_table.read(catalog, CatalogRows(np.arange(1, N_ITEMS + 1)))


def lists_of(rng: random.Random) -> list[list[int]]:
    """Return histories of users; items 0 and 5 are of one user each, and one user has none."""
    found = [rng.choices(range(1, 5), k=rng.randint(2, 9)) for _ in range(6)]
    return [[*found[0], 0], *found[1:-1], [5, *found[-1]], []]


@pytest.mark.parametrize(
    "there", ["facts", "liked", "known", "counts", "recent", "facts known", "facts liked known recent counts"]
)
@pytest.mark.parametrize("seed", range(3))
def test_the_parts_and_their_sum_are_what_loops_say(there: str, seed: int, facts: FactIndex) -> None:
    rng = random.Random(seed)
    groups, lists = [random_sets(rng, 9, N_ITEMS), random_sets(rng, 4, N_ITEMS)], lists_of(rng)
    made: dict[str, Any] = {
        "facts": (facts, {"films": FILMS}),
        "liked": (liked_sets_of(groups, N_ITEMS), {"groups": groups}),
        "known": (np.array(KNOWN), {"known": KNOWN}),
        "counts": (PriorCounts.of(arrays(lists), N_ITEMS), {"lists": lists}),
        "recent": (np.array(RECENT), {"recent": RECENT}),
    }
    mixture = Mixture(N_ITEMS, WEIGHTS, **{name: made[name][0] for name in there.split()})
    known_by_loops = {key: value for name in there.split() for key, value in made[name][1].items()}
    for history in HISTORIES:
        expected = mixture_by_loops(asdict(WEIGHTS), history, **known_by_loops)
        found = mixture.parts(history)
        assert found.keys() == expected.keys()
        for name, nats in expected.items():
            assert found[name].tolist() == pytest.approx(nats, abs=1e-4), name  # EASE is kept in float32
        log_probs = mixture.log_prob(history)
        assert log_probs.tolist() == pytest.approx(as_log_probs(expected, history), abs=1e-4)
        outside = [item for item in range(N_ITEMS) if item not in history]
        assert np.exp(log_probs[outside]).sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
def test_a_user_is_explained_by_the_others_alone(seed: int, facts: FactIndex) -> None:
    """Liked sets and events counted anew without the user; facts and how well known items are stay what they are."""
    rng = random.Random(seed)
    lists, talked, is_older = lists_of(rng), random_sets(rng, 5, N_ITEMS), [item % 2 == 0 for item in range(N_ITEMS)]
    sets = [lists, [[item for item in items if is_older[item]] for items in lists] + talked]
    counts = PriorCounts.of(arrays(lists), N_ITEMS)
    mixture = Mixture(N_ITEMS, WEIGHTS, facts, liked_sets_of(sets, N_ITEMS), np.array(KNOWN), counts)
    ask = mixture.cross_fitted(arrays(lists))
    differs = 0
    for user, items in enumerate(lists):
        others = lists[:user] + lists[user + 1 :]
        groups = [one[:user] + one[user + 1 :] for one in sets]
        for history, start in ((items, 0), (items, len(items) // 2), (items[1::2], 0)):
            found = ask(user, np.array(history, np.int32), start)
            assert found.shape == (len(history) - start, N_ITEMS)
            assert found.dtype == np.float32
            for place, row in enumerate(found, start):
                known: dict[str, Any] = {"films": FILMS, "groups": groups, "known": KNOWN, "lists": others}
                truth = as_log_probs(mixture_by_loops(asdict(WEIGHTS), history[:place], **known), history[:place])
                assert row.tolist() == pytest.approx(truth, abs=1e-4)
                differs += row.tolist() != pytest.approx(mixture.log_prob(history[:place]).tolist(), abs=1e-3)
    assert differs  # the user's own events matter


def test_it_needs_no_counts_to_train_with() -> None:
    sets = [[[0, 1], [1, 2, 3], [4]]]
    mixture = Mixture(N_ITEMS, WEIGHTS, liked=liked_sets_of(sets, N_ITEMS))
    (row,) = mixture.cross_fitted(arrays(sets[0]))(1, np.array([1, 2], np.int32), 1)
    groups = [[[0, 1], [4]]]
    assert row.tolist() == pytest.approx(as_log_probs(mixture_by_loops(asdict(WEIGHTS), [1], groups=groups), [1]))


def test_what_is_not_there_or_weighs_nothing_is_not_named() -> None:
    counts = PriorCounts.of(arrays([[0, 1, 2], [1, 2]]), N_ITEMS)
    everything: dict[str, Any] = {"known": np.array(KNOWN), "counts": counts}
    assert Mixture(N_ITEMS).used_weights() == {}
    assert Mixture(N_ITEMS).parts([1, 2]) == {}
    assert Mixture(N_ITEMS, OPEN, known=np.array(KNOWN)).used_weights() == {"known": OPEN.known}
    expected = {name: asdict(COUNTED)[name] for name in ("known", "near", "ease", "popularity")}
    assert Mixture(N_ITEMS, COUNTED, **everything).used_weights() == expected
    with_trend = Mixture(N_ITEMS, COUNTED, recent=np.array(RECENT), **everything)
    assert with_trend.used_weights() == expected | {"trend": COUNTED.trend}
    assert Mixture(N_ITEMS, MixtureWeights(known=0.0), **everything).used_weights() == {}
    assert "known" not in Mixture(N_ITEMS, MixtureWeights(known=0.0), **everything).parts([1])


def test_alone_it_knows_nothing_and_all_items_are_alike() -> None:
    found = Mixture(N_ITEMS).log_prob([2, 4])
    assert found.tolist() == pytest.approx([SEEN_LOGPROB if j in {2, 4} else -np.log(5) for j in range(N_ITEMS)])
    everything = Mixture(N_ITEMS).log_prob(range(N_ITEMS))
    assert everything.tolist() == [SEEN_LOGPROB] * N_ITEMS


def test_no_film_is_preferred_for_being_watched() -> None:
    """Without a history counts say nothing, but for those of late; beside one, popularity speaks against an item."""
    counts = PriorCounts.of(arrays([[0, 1], [0, 2], [0, 3]]), N_ITEMS)
    assert len(set(Mixture(N_ITEMS, COUNTED, counts=counts).log_prob([]).tolist())) == 1
