"""Templates filled with what a window and the facts say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from genrec_edge.convert.training.data.fill_template import fill_template
from genrec_edge.convert.training.data.templates import TEMPLATES
from tests.support.instructions import (
    ITEM_FACTS,
    WINDOW,
    items_matching,
    target_titles,
    words_by_mark,
)


@pytest.mark.slow
def test_an_intention_made_of_the_history_does_not_depend_on_the_target() -> None:
    template = next(t for t in TEMPLATES if t.cell == "P1,I2,T2" and t.answer == "title")
    n_matching = Counter[bool]()
    for i in range(300):
        from_target = fill_template(template, WINDOW, ITEM_FACTS, np.random.default_rng(i))
        from_history = fill_template(template, WINDOW, ITEM_FACTS, np.random.default_rng(i), intent_from_history=True)
        assert from_target is not None
        assert from_history is not None
        for example, is_from_history in ((from_target, False), (from_history, True)):
            (target,) = target_titles(example)[-1].items
            words = next(m for m in words_by_mark(example) if m.startswith("they search for ")).removeprefix(
                "they search for "
            )
            matches = target in items_matching(words)
            assert matches or is_from_history
            if is_from_history:
                n_matching[matches] += 1
                typical = ITEM_FACTS.most_typical(target_titles(example)[0].items)
                assert typical in items_matching(words)
    assert n_matching[True] < 0.5 * n_matching.total()


def test_the_most_typical_item_has_most_in_common_with_the_others() -> None:
    assert ITEM_FACTS.most_typical([4, 0, 6, 12]) == 12  # 0, 6 and 12 are comedies of one decade: the latest of them
    assert ITEM_FACTS.most_typical([12, 6, 0, 4]) == 0
