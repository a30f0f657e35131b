"""Which windows of which histories a training step sees."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.convert.training.data.windows import Window, WindowSampler
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTHS = (2, 5, 40, 120, 1, 0)


def histories(lengths: tuple[int, ...] | list[int] = LENGTHS) -> list[NDArray[np.int64]]:
    """Return histories in which a title says whose it is, and where."""
    return [1000 * user + np.arange(n) for user, n in enumerate(lengths)]


def drawn(sampler: WindowSampler, n_steps: int = 400) -> list[Window]:
    return [window for step in range(n_steps) for window in sampler.sample(step, 6)]


@pytest.mark.slow
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(lambda n: max(n) > 1), st.integers(2, 50), st.booleans()
)
def test_a_window_is_a_piece_of_a_history(lengths: list[int], window: int, all_targets: bool) -> None:
    sampler = WindowSampler(histories(lengths), window=window, seed=3, all_targets=all_targets)
    assert sampler.n_events == sum(n for n in lengths if n > 1)
    for found in drawn(sampler, 10):
        n = len(found.items)
        first = 1000 * found.user + len(found.before)
        assert found.items == tuple(range(first, first + n))
        assert len(found.before) + n <= lengths[found.user]
        assert (1 if all_targets else 2) <= n <= window
        assert found.first_target == (0 if all_targets else n - 1)


def test_a_step_is_a_function_of_seed_and_step() -> None:
    sampler, again, other = (WindowSampler(histories(), window=36, seed=seed) for seed in (3, 3, 4))
    before = [sampler.sample(step, 6) for step in range(20)]
    assert before == [again.sample(step, 6) for step in reversed(range(20))][::-1]
    assert before != [other.sample(step, 6) for step in range(20)]
    assert len({str(step) for step in before}) == len(before)


@pytest.mark.parametrize("all_targets", [True, False])
def test_users_come_in_proportion_to_their_events_and_those_with_one_never(all_targets: bool) -> None:
    sampler = WindowSampler(histories(), window=36, seed=3, all_targets=all_targets)
    windows = drawn(sampler)
    counts = Counter(window.user for window in windows)
    assert counts.keys() == {0, 1, 2, 3}
    for user, n in counts.items():
        expected = LENGTHS[user] / sampler.n_events
        assert n / len(windows) == pytest.approx(expected, abs=4 * (expected / len(windows)) ** 0.5)


def contexts(window: int) -> Counter[int]:
    """Return how often a target of the longest history had so many titles before it in its window."""
    sampler = WindowSampler(histories((120,)), window=window, seed=3)
    return Counter(before for found in drawn(sampler) for before in range(len(found.items)))


@pytest.mark.parametrize("window", [4, 36])
def test_every_title_is_a_target_and_short_and_long_contexts_are_seen(window: int) -> None:
    seen = contexts(window)
    assert seen.keys() == set(range(window))
    assert seen[window - 1] > 0.5 * seen[0]
    sampler = WindowSampler(histories((120,)), window=window, seed=3)
    targets = Counter(position for found in drawn(sampler) for position in found.items)
    assert targets.keys() == set(range(120))
    assert min(targets.values()) > 0.1 * max(targets.values())


def test_the_last_title_of_a_window_can_be_any_but_the_first_of_a_history() -> None:
    sampler = WindowSampler(histories((120,)), window=36, seed=3, all_targets=False)
    windows = drawn(sampler)
    assert {window.items[-1] for window in windows} == set(range(1, 120))
    assert {len(window.items) for window in windows} == set(range(2, 37))


@pytest.mark.parametrize("lengths", [(0,), (1, 1, 0)])
def test_histories_of_one_title_are_nothing_to_learn_from(lengths: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="no user has two events"):
        WindowSampler(histories(lengths), window=36, seed=0)
