"""Years in words, each form against the condition it states."""

from __future__ import annotations

import pytest

from genrec_edge.intents.lexicon import Sentence
from genrec_edge.intents.years import YearSpan, year_spans
from genrec_edge.records import Fact


@pytest.mark.parametrize(
    ("text", "where", "is_open"),
    [
        ("between 1990 and 1995", "year BETWEEN 1990 AND 1995", False),
        ("from the 80s to the 90s", "year BETWEEN 1980 AND 1999", False),
        ("1995 through 1990", "year BETWEEN 1990 AND 1995", False),
        ("1990-1995", "year BETWEEN 1990 AND 1995", False),
        ("before the 80s", "year < 1980", True),
        ("older than 1980", "year < 1980", True),
        ("after the eighties", "year > 1989", True),
        ("until the 50s", "year <= 1959", True),
        ("since 1995", "year >= 1995", True),
        ("1995 or later", "year >= 1995", True),
        ("from 1995 onwards", "year >= 1995", True),
        ("the 80s and earlier", "year <= 1989", True),
    ],
)
def test_conditions_on_years(text: str, where: str, *, is_open: bool) -> None:
    (span,) = year_spans(Sentence(f"films {text} please"))
    assert (span.where, span.facts, span.cue, span.is_open) == (where, (), None, is_open)
    assert (span.start, span.end) == (1, 1 + len(Sentence(text)))


@pytest.mark.parametrize(
    ("text", "where", "decade", "cue"),
    [
        ("1994", "year = 1994", None, ""),
        ("in the year 1994", "year = 1994", None, "in"),
        ("from the nineties", "year BETWEEN 1990 AND 1999", "1990s", "from"),
        ("of the late 80s", "year BETWEEN 1985 AND 1989", "1980s", "of"),
        ("the mid 2000s", "year BETWEEN 2003 AND 2006", "2000s", ""),
        ("10s", "year BETWEEN 2010 AND 2019", "2010s", ""),
        ("early 1970s", "year BETWEEN 1970 AND 1974", "1970s", ""),
    ],
)
def test_single_years_and_decades(text: str, where: str, decade: str | None, cue: str) -> None:
    (span,) = year_spans(Sentence(text))
    facts = () if decade is None else (Fact("decade", decade),)
    assert span == YearSpan(0, len(Sentence(text)), where, facts, cue, is_open=False)


@pytest.mark.parametrize("text", ["", "2049ers", "1799", "19945", "forty"])
def test_what_is_not_a_year(text: str) -> None:
    assert list(year_spans(Sentence(text))) == []


def test_spans_do_not_cross_the_end_of_a_phrase() -> None:
    spans = list(year_spans(Sentence("from 1990, to 1995")))
    assert [(span.where, span.cue) for span in spans] == [("year = 1990", "from"), ("year = 1995", "")]
