"""The mixture against its formula, and without a user against one that never counted that user."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.prior.fact_build import ValuePairs, build
from genrec_edge.prior.liked import LikedGroup, LikedSets
from genrec_edge.prior.mixture import COUNTED, OPEN, Mixture, MixtureWeights
from genrec_edge.prior.model import SEEN_LOGPROB, PriorCounts
from tests.prior.test_liked import by_loops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genrec_edge.prior.facts import FactIndex

N = 24


def facts() -> FactIndex:
    rng = np.random.default_rng(2)
    values = [ValuePairs(name, rng.integers(0, 4, N), np.arange(N)) for name in ("genres", "mood")]
    return build(N, values)


def histories(seed: int, n: int = 30) -> list[NDArray[np.int32]]:
    rng = np.random.default_rng(seed)
    return [rng.permutation(N)[: rng.integers(2, 9)].astype(np.int32) for _ in range(n)]


def mixture(known: list[float] | None, train: list[NDArray[np.int32]] | None, weights: MixtureWeights) -> Mixture:
    likes = histories(7) if train is None else train
    return Mixture(
        N,
        weights,
        facts(),
        LikedSets((LikedGroup.of(likes, N),), N),
        None if known is None else np.array(known),
        None if train is None else PriorCounts.of(train, N),
    )


KNOWN = [i / N for i in range(N)]


def test_the_open_one_is_its_formula() -> None:
    found = mixture(KNOWN, None, OPEN)
    history = [3, 9, 14]
    liked = by_loops([[list(map(int, one)) for one in histories(7)]], N, history)
    own = facts().scores(history)
    scores = [0.91 * own[j] + 0.58 * math.log(0.002 + liked[j]) + 2.43 * KNOWN[j] for j in range(N)]
    rest = math.log(sum(math.exp(score) for j, score in enumerate(scores) if j not in history))
    log_prob = found.log_prob(history)
    for j in range(N):
        assert log_prob[j] == pytest.approx(SEEN_LOGPROB if j in history else scores[j] - rest)
    assert np.exp(np.delete(log_prob, history)).sum() == pytest.approx(1)
    assert found.used_weights() == {"facts": 0.91, "liked": 0.58, "known": 2.43}


def test_own_counts_are_part_of_it() -> None:
    train = histories(1)
    found = mixture(KNOWN, train, COUNTED)
    history = train[0][:3].tolist()
    parts = found.parts(history)
    assert set(parts) == {"facts", "liked", "known", "near", "ease"}
    near = [0.0] * N
    for age, i in enumerate(reversed(history)):
        for one in train:
            items = one.tolist()
            for j in range(N):
                if i in items and j in items and i != j and (d := abs(items.index(i) - items.index(j))) <= 10:
                    events = sum(i in other for other in train)
                    near[j] += 0.5**age / d / events**0.8
    expected = [0.56 * math.log(2 + N * value / sum(near)) for value in near]
    assert parts["near"].tolist() == pytest.approx(expected)
    # A title that comes twice in a history counts as the counts have it, and breaks nothing.
    assert np.isfinite(found.log_prob([*history, history[0]])).all()
    assert found.log_prob([]).shape == (N,)


@pytest.mark.parametrize("part", ["facts", "liked", "known", "counts"])
def test_what_is_not_there_changes_no_order(part: str) -> None:
    whole = mixture(KNOWN, histories(1), COUNTED)
    fields = {"facts": whole.facts, "liked": whole.liked, "known": whole.known, "counts": whole.counts} | {part: None}
    less = Mixture(N, COUNTED, **fields)  # type: ignore[arg-type]
    dropped = {"counts": {"near", "ease"}}.get(part, {part})
    parts = whole.parts([3, 9])
    left = sum((nats for name, nats in parts.items() if name not in dropped), np.zeros(N))
    found = less.log_prob([3, 9])
    assert set(less.parts([3, 9])) == set(parts) - dropped
    unseen = [j for j in range(N) if j not in (3, 9)]
    assert (found[unseen] - left[unseen]).tolist() == pytest.approx([found[0] - left[0]] * len(unseen))


def test_a_user_is_explained_by_the_others() -> None:
    """The cosines still divide by likes that count the user, which the comparison does, too."""
    train = histories(3, 12)
    ask = mixture(KNOWN, train, COUNTED).cross_fitted(train)
    rng = random.Random(0)
    for user in (0, 5, 11):
        history = train[user].tolist()
        rng.shuffle(history)
        start = len(history) // 2
        found = ask(user, np.array(history, np.int64), start)
        others = Mixture(
            N,
            COUNTED,
            facts(),
            None,
            np.array(KNOWN),
            PriorCounts.of([one if i != user else one[:0] for i, one in enumerate(train)], N),
        )
        for row, position in enumerate(range(start, len(history))):
            before = history[:position]
            liked = by_loops([[one.tolist() for one in train]], N, before, user)
            scores = sum(others.parts(before).values(), np.zeros(N)) + 0.58 * np.log(0.002 + np.array(liked))
            unseen = [j for j in range(N) if j not in before]
            log_prob = scores - np.log(np.exp(scores[unseen]).sum())
            assert found[row][unseen].tolist() == pytest.approx(log_prob[unseen].tolist(), abs=1e-4)
    assert found.dtype == np.float32
