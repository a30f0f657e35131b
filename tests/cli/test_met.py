"""What the command line says of what the model met in training, and of what carried an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from genrec_edge.cli.render import _say_unmet, carried_by
from genrec_edge.coordinates import CatalogRow
from genrec_edge.records import Item, Match, Recommendation, Result, Timings

if TYPE_CHECKING:
    from collections.abc import Sequence

ITEM = Item(CatalogRow(1), "a", "A", 1990)


def result(met: Sequence[bool | None], history_met: int | None, parts: dict[str, float] | None = None) -> Result:
    items = tuple(Recommendation(i + 1, ITEM, 0.0, 0.0, met=one, parts=parts or {}) for i, one in enumerate(met))
    matches = (Match("A", ITEM, "exact", 1.0),) * 3
    return Result(items, True, 0.0, matches, (), 0, 0, {}, {}, Timings(), history_met=history_met)


@pytest.mark.parametrize(
    ("met", "history_met", "said"),
    [
        ([True, True], 3, ""),
        ([True, False], 2, ""),
        ([None, None], None, ""),
        ([True, True], 1, "the model met 1 of the 3 titles and 2 of the 2 answers in training: "),
        ([False, False], 3, "the model met 3 of the 3 titles and 0 of the 2 answers in training: "),
    ],
)
def test_it_is_said_where_the_model_met_little(
    met: list[bool | None], history_met: int | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _say_unmet(result(met, history_met, {"model": 1.0}))
    shown = capsys.readouterr().err
    assert shown.startswith(said)
    assert bool(shown) is bool(said)
    assert not said or "facts and counts decide; docs/training.md" in shown


def test_a_model_that_is_asked_alone_has_another_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    _say_unmet(result([False], 0))
    assert "leave out --prior none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        ({"model": 1.0, "facts": 6.0, "liked": 4.0}, "facts, liked"),
        ({"model": 1.0, "facts": 6.0, "liked": 2.0}, "facts"),
        ({"model": 1.0}, "model"),
        ({"model": 2.0, "known": 1.0}, "model, known"),
    ],
)
def test_what_carried_an_answer_is_its_largest_parts(parts: dict[str, float], shown: str) -> None:
    assert carried_by(replace(Recommendation(1, ITEM, 0.0, 0.0), parts=parts)) == shown
