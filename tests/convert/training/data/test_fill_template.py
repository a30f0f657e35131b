"""Templates filled with what a window and the facts say."""

from __future__ import annotations

from collections import Counter

import numpy as np

from genrec_edge.convert.training.data.fill_template import fill_template
from genrec_edge.convert.training.data.templates import TEMPLATES
from tests.support.instructions import (
    ITEM_FACTS,
    WINDOW,
    asks_for,
    learned,
    said,
)


def test_an_honest_intention_knows_nothing_of_the_target() -> None:
    template = next(t for t in TEMPLATES if t.cell == "P1,I2,T2" and t.answer == "title")
    fitting = Counter[bool]()
    for i in range(300):
        oracle = fill_template(template, WINDOW, ITEM_FACTS, np.random.default_rng(i))
        honest = fill_template(template, WINDOW, ITEM_FACTS, np.random.default_rng(i), intent_from_history=True)
        assert oracle is not None
        assert honest is not None
        for example, is_honest in ((oracle, False), (honest, True)):
            (target,) = learned(example)[-1].items
            words = next(m for m in said(example) if m.startswith("they search for ")).removeprefix("they search for ")
            fits = target in asks_for(words)
            assert fits or is_honest
            if is_honest:
                fitting[fits] += 1
                typical = ITEM_FACTS.most_typical(learned(example)[0].items)
                assert typical in asks_for(words)
    assert fitting[True] < 0.5 * fitting.total()


def test_the_most_typical_item_has_most_in_common_with_the_others() -> None:
    assert ITEM_FACTS.most_typical([4, 0, 6, 12]) == 12  # 0, 6 and 12 are comedies of one decade: the latest of them
    assert ITEM_FACTS.most_typical([12, 6, 0, 4]) == 0
