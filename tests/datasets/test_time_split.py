"""The global temporal split: a small table cut by hand, and plain loops over any table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.datasets.time_split import split_by_time
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.protocol import cases_of
from tests.support.event_tables import EVENTS, TIES, Event, dataset_of, sorted_lists

if TYPE_CHECKING:
    from genrec_edge.records import Ties

BY_HAND: list[Event] = [
    *((0, 0, 1), (1, 1, 2), (0, 1, 3), (2, 2, 4), (1, 2, 5), (0, 2, 6)),
    *((2, 0, 7), (1, 3, 8), (2, 1, 9), (0, 4, 10), (1, 4, 11), (2, 4, 12)),
    # validation: user 0 meets 0 again and then 3; user 3 is new; user 1 meets 1 again
    *((0, 0, 13), (0, 3, 14), (3, 0, 15), (1, 1, 16)),
    # test: user 0 meets 5; user 3 meets 2; user 1 meets 3 again and then 5
    *((0, 5, 17), (3, 2, 18), (1, 3, 19), (1, 5, 20)),
]


def test_a_table_is_cut_as_by_hand() -> None:
    split = split_by_time(dataset_of(BY_HAND[::-1]), "file", validation_share=0.2, test_share=0.2)
    assert split.card()["cuts"] == [13, 17]
    assert [items.tolist() for items in split.train] == [[0, 1, 2, 4], [1, 2, 3, 4], [2, 0, 1, 4], []]
    assert split.validation.tolist() == [3, -1, -1, -1]
    assert split.test.tolist() == [5, 5, -1, 2]
    assert split.users.tolist() == [0, 1, 3]
    assert np.nan_to_num(split.times["test"], nan=-1).tolist() == [17, 20, -1, 18]
    assert np.nan_to_num(split.times["validation"], nan=-1).tolist() == [14, -1, -1, -1]
    test, validation = cases_of(split), cases_of(split, target="validation")
    # all that came before the part, and nothing of the part itself
    assert [history.tolist() for history in test.histories] == [[0, 1, 2, 4, 0, 3], [1, 2, 3, 4, 1], [0]]
    assert [history.tolist() for history in validation.histories] == [[0, 1, 2, 4]]
    assert (split.n_without("test"), split.card()["train_events"]) == (1, 12)
    assert split.kind == "global temporal"


def test_the_parts_are_a_tenth_each_by_default() -> None:
    events = [(i % 4, i % 6, i) for i in range(50)]
    split = split_by_time(dataset_of([*events, (0, 6, 50)], n_items=7), "file")
    assert split.card()["cuts"] == [41, 46]  # of 51 events 5 and 5


def test_what_cannot_be_cut_is_said() -> None:
    dataset = dataset_of(BY_HAND)
    for shares in ((0.0, 0.1), (0.1, 0.0), (0.5, 0.5), (0.1, float("nan"))):
        with pytest.raises(UsageError, match="of 20 events leave no event for a part"):
            split_by_time(dataset, "file", validation_share=shares[0], test_share=shares[1])
    with pytest.raises(UsageError, match="leave no event for a part"):
        split_by_time(dataset_of([(0, item, 7) for item in range(5)]), "file", validation_share=0.2, test_share=0.2)
    with pytest.raises(UsageError, match="none has events before the last 20% of all events and a new item in them"):
        split_by_time(dataset_of([(i // 2, i % 2, i) for i in range(8)]), "file", validation_share=0.2, test_share=0.2)


@pytest.mark.slow
@given(EVENTS, st.sampled_from(TIES), st.sampled_from([0.1, 0.25, 0.4]))
def test_nothing_after_a_date_is_known_before_it(events: list[Event], ties: Ties, share: float) -> None:
    n_out = round(share * len(events))
    times = sorted(time for _, _, time in events)
    try:
        split = split_by_time(dataset_of(events), ties, validation_share=share, test_share=share)
    except UsageError:
        return  # what such an error says is tested above
    first, second = times[len(times) - 2 * n_out], times[len(times) - n_out]
    for user, timed in enumerate(sorted_lists(events, ties)):
        assert split.train[user].tolist() == [item for item, time in timed if time < first]
        before = [item for item, time in timed if time < second]
        after = [item for item, time in timed if time >= second and item not in before]
        within = [item for item, time in timed if first <= time < second and item not in split.train[user]]
        assert split.history(user, "test").tolist() == before
        assert split.test[user] == (after[0] if before and after else -1)
        assert split.validation[user] == (within[0] if len(split.train[user]) and within else -1)
