"""Histories, the k-core and the splits against plain loops over sorted lists, and the counts of MovieLens."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.datasets.folder import load
from genrec_edge.datasets.histories import user_histories
from genrec_edge.datasets.splits import k_core, leave_one_out, split_cold_items
from genrec_edge.datasets.summary import summarize
from genrec_edge.errors import UsageError
from tests.support.event_tables import EVENTS, N_ITEMS, N_USERS, TIES, Event, dataset_of, sorted_lists

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.datasets.split import Split
    from genrec_edge.records import Ties


@given(EVENTS, st.sampled_from(TIES))
def test_histories_are_in_the_order_of_time_and_of_the_rule(events: list[Event], ties: Ties) -> None:
    found = user_histories(dataset_of(events), ties)
    assert [h.tolist() for h in found] == [[item for item, _ in h] for h in sorted_lists(events, ties)]
    assert {h.dtype for h in found} == {np.dtype(np.int32)}


@given(EVENTS, st.integers(1, 5))
def test_the_k_core_is_what_is_left_when_nothing_more_has_to_go(events: list[Event], k: int) -> None:
    left = list(events)
    while True:
        users, items = Counter(e[0] for e in left), Counter(e[1] for e in left)
        kept = [e for e in left if users[e[0]] >= k and items[e[1]] >= k]
        if len(kept) == len(left):
            break
        left = kept
    if not left:
        with pytest.raises(UsageError, match=f"no event of made is left: {k}-core"):
            k_core(dataset_of(events), k)
        return
    core = k_core(dataset_of(events), k)
    assert list(zip(core.users.tolist(), core.items.tolist(), core.timestamps.tolist(), strict=True)) == left
    assert (core.n_items, core.n_users, core.filters) == (N_ITEMS, N_USERS, (f"{k}-core",))


def expected_split(sequences: list[list[int]], n_train: list[int]) -> tuple[list[list[int]], list[int], list[int]]:
    """Return training items, validation and test targets; what was met before is no target."""
    validation, test = [-1] * len(sequences), [-1] * len(sequences)
    for user, (items, n) in enumerate(zip(sequences, n_train, strict=True)):
        if n > 0 and len(items) > n and items[n] not in items[:n]:
            validation[user] = items[n]
        if n > 0 and len(items) > n + 1 and items[n + 1] not in items[: n + 1]:
            test[user] = items[n + 1]
    return [items[:n] for items, n in zip(sequences, n_train, strict=True)], validation, test


def check(split: Split, expected: tuple[list[list[int]], list[int], list[int]]) -> None:
    assert [items.tolist() for items in split.train] == expected[0]
    assert (split.validation.tolist(), split.test.tolist()) == expected[1:]
    assert split.users.tolist() == [user for user, item in enumerate(expected[2]) if item >= 0]


def times_of_targets(split: Split, timed: list[list[tuple[int, int]]]) -> None:
    """Each target has the time of its event, which is one of the last two."""
    for target, place in (("test", -1), ("validation", -2)):
        for user, item in enumerate(split.targets(target).tolist()):  # type: ignore[arg-type]
            expected = timed[user][place] if item >= 0 else (-1, None)
            found = split.times[target][user]  # type: ignore[index]
            assert (item, None if np.isnan(found) else found) == expected


@given(EVENTS, st.sampled_from(TIES), st.integers(3, 5))
def test_leave_one_out_holds_out_the_last_two(events: list[Event], ties: Ties, min_events: int) -> None:
    sequences = [[item for item, _ in h] for h in sorted_lists(events, ties)]
    expected = expected_split(sequences, [len(h) - 2 if len(h) >= min_events else len(h) for h in sequences])
    if max(expected[2]) < 0:
        with pytest.raises(UsageError, match="no user of made has a test target"):
            leave_one_out(dataset_of(events), ties, min_events=min_events)
        return
    split = leave_one_out(dataset_of(events), ties, min_events=min_events)
    check(split, expected)
    assert (split.ties, split.kind, split.card()["min_events"]) == (ties, "leave-one-out", min_events)
    times_of_targets(split, sorted_lists(events, ties))


@given(EVENTS, st.integers(0, 3))
def test_cold_items_are_in_no_history_and_are_what_is_asked_for(events: list[Event], seed: int) -> None:
    try:
        whole = leave_one_out(dataset_of(events), "file")
        split = split_cold_items(whole, share=0.4, seed=seed)
    except UsageError:
        return  # too few events; what such an error says is tested elsewhere
    targets = {int(whole.test[user]) for user in whole.users}
    held_out = split.held_out.tolist()
    assert set(held_out) <= targets
    assert len(held_out) == min(round(0.4 * N_ITEMS), len(targets)) == split.card()["held_out_items"]
    for user in range(N_USERS):
        kept = [item for item in whole.train[user].tolist() if item not in held_out]
        assert split.train[user].tolist() == kept
        asked = bool(kept) and int(whole.test[user]) in held_out
        assert split.test[user] == (whole.test[user] if asked else -1)
        assert (user in split.users) == asked
        assert split.validation[user] == (-1 if whole.validation[user] in held_out else whole.validation[user])
    assert np.array_equal(split_cold_items(whole, share=0.4, seed=seed).held_out, split.held_out)


def test_splits_refuse_what_they_cannot_do() -> None:
    dataset = dataset_of([(0, item, item) for item in range(4)])
    whole = leave_one_out(dataset, "file")
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: leave_one_out(dataset, "file", min_events=2), "`min_events` must be at least 3, got 2"),
        (lambda: split_cold_items(whole, share=0.01), "a share of 0.01 of 6 items is less than one cold item"),
        (lambda: user_histories(dataset, "random"), "unknown `ties` 'random'"),  # type: ignore[arg-type]
    ]
    for call, message in cases:
        with pytest.raises(UsageError, match=message) as caught:
            call()
        assert caught.value.hint
    # Each user has trained on one film alone, and it is what the other is asked for.
    events = [*((0, item, item) for item in (1, 2, 3)), *((1, item, -item) for item in (3, 2, 1))]
    with pytest.raises(UsageError, match="no user has both a history and a cold test target"):
        split_cold_items(leave_one_out(dataset_of(events), "file"), share=0.4)


def test_movielens_has_its_published_counts(ml_100k: Path) -> None:
    """Source: the README of MovieLens 100K (users, items, ratings, 20 at least); ties and core: measured apart."""
    dataset = load(ml_100k)
    facts = summarize(dataset)
    assert (facts["users"], facts["items"], facts["catalog_items"], facts["events"]) == (943, 1682, 1682, 100_000)
    assert (facts["min_length"], facts["median_length"], facts["max_length"]) == (20, 65, 737)
    assert (facts["tied_last_two"], round(facts["tied_events"], 3), facts["repeats"]) == (415, 0.506, 0)
    core = k_core(dataset, 5)
    assert (len(np.unique(core.items)), core.n_events, core.n_items) == (1349, 99_287, 1682)
    assert len(dataset.titles) - len(set(dataset.titles)) == 18
    assert dataset.titles[0] == ("Toy Story", 1995)
    rated = load(ml_100k, min_rating=4)
    assert (rated.n_events, rated.filters) == (55_375, ("rated 4 or higher",))
