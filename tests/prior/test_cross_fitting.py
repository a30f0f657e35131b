"""The prior without a user's own events against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from genrec_edge.prior.cross_fitting import cross_fitted
from tests.support.priors import COEFFICIENTS, HISTORIES, N_ITEMS, arrays, by_definition

pytestmark = pytest.mark.slow


@pytest.mark.slow
@given(lists=HISTORIES)
def test_a_history_is_explained_by_the_others_alone(lists: list[list[int]]) -> None:
    ask = cross_fitted(arrays(lists), N_ITEMS, COEFFICIENTS)
    for user, items in enumerate(lists):
        others = lists[:user] + lists[user + 1 :]
        for history, start in ((items, 0), (items, len(items) // 2), (items[1::2], 0)):
            found = ask(user, np.array(history, np.int32), start)
            assert found.shape == (len(history) - start, N_ITEMS)
            assert found.dtype == np.float32
            for place, row in enumerate(found, start):
                truth = by_definition(others, history[:place], "sequence", COEFFICIENTS)
                assert row.tolist() == pytest.approx(truth, abs=1e-4)
