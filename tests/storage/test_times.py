"""Times and ratings of cells: every form is the moment it names, and what could be two moments is not read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.storage.times import UnclearTimesError, moment_of, number_of, rating_of, to_seconds

if TYPE_CHECKING:
    from genrec_edge.records import TimeUnit

DAY = datetime(2024, 1, 5, tzinfo=UTC).timestamp()
EVENING = datetime(2024, 1, 5, 20, 13, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("2024-01-05", DAY),
        (" 2024-1-5 ", DAY),
        ("2024/01/05", DAY),
        ("2024.01.05", DAY),
        ("05.01.2024", DAY),
        ("5 Jan 2024", DAY),
        ("5 January 2024", DAY),
        ("Jan 5, 2024", DAY),
        ("January 05, 2024", DAY),
        ("2024-W01-5", DAY),
        ("2024-01", datetime(2024, 1, 1, tzinfo=UTC).timestamp()),
        ("2024-01-05T20:13:00Z", EVENING),
        ("2024-01-05T20:13Z", EVENING),
        ("2024-01-05 20:13:00", EVENING),
        ("2024-01-05 20:13:00 UTC", EVENING),
        ("2024-01-05 20:13:00 GMT", EVENING),
        ("2024-01-05T20:13:00.0000000Z", EVENING),
        ("2024-01-05T22:13:00+02:00", EVENING),
        ("2024-01-05T15:13:00-0500", EVENING),
        ("2024/01/05 20:13", EVENING),
        ("05.01.2024 20:13:00", EVENING),
        ("Jan 5, 2024 8:13 PM", EVENING),
        ("Fri, 05 Jan 2024 20:13:00 GMT", EVENING),
        ("Fri, 05 Jan 2024 22:13:00 +0200", EVENING),
        ("Fri Jan 05 20:13:00 2024", EVENING),
        (datetime(2024, 1, 5, 20, 13), EVENING),
        (datetime(2024, 1, 5, 22, 13, tzinfo=timezone(timedelta(hours=2))), EVENING),
        (date(2024, 1, 5), DAY),
    ],
)
def test_dates(cell: object, seconds: float) -> None:
    assert moment_of(cell) == seconds


@pytest.mark.parametrize(
    "cell", ["1/5/2024", "1/5/24", "yesterday", "", "2024", "12", "Mon", "2024-13-01", "30.02.2024", None, 7, True, []]
)
def test_what_is_no_date_or_could_be_two(cell: object) -> None:
    assert moment_of(cell) is None


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.timezones()))
def test_iso_8601_in_any_zone(when: datetime) -> None:
    assert moment_of(when.isoformat()) == pytest.approx(when.timestamp(), abs=1e-3)


@pytest.mark.parametrize(
    ("numbers", "seconds", "words"),
    [
        ([1, 5, 1e10], [1, 5, 1e10], ""),
        ([], [], ""),
        ([1.6e12, 1e12], [1.6e9, 1e9], "milliseconds"),
        ([1.6e15], [1.6e9], "microseconds"),
        ([1.6e18], [1.6e9], "nanoseconds"),
        (
            [1.6e9, 1.6e12, 1.6e15, 1.6e18, 1.6e9],
            [1.6e9] * 5,
            "2 in seconds, 1 in milliseconds, 1 in microseconds, 1 in nanoseconds",
        ),
        ([0, -1.6e12], [0, -1.6e9], "1 in seconds, 1 in milliseconds"),
        ([1e12, 2e12, 9e13], [1e9, 2e9, 9e10], "milliseconds"),
        ([20240105, 19991231], [DAY, datetime(1999, 12, 31, tzinfo=UTC).timestamp()], "dates such as 20240131"),
        ([20240105201300, 202401052013], [EVENING, EVENING], "dates such as 20240131"),
        ([20240105, 20240199], [20240105, 20240199], ""),
        ([20240105, 5], [20240105, 5], ""),
    ],
)
def test_the_unit_of_numbers(numbers: list[float], seconds: list[float], words: str) -> None:
    found = to_seconds(np.array(numbers, np.float64))
    assert (found[0].tolist(), found[1]) == (pytest.approx(seconds, rel=1e-12), words)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1, 2, 1.6e12], "2 times are of no clear unit beside times in milliseconds: 1, 2"),
        ([99999999999, 1.6e9, 1.6e12], "1 times are of no clear unit beside times in seconds and milliseconds"),
        ([1e25], "1 times are of no clear unit: 1e+25"),
    ],
)
def test_numbers_that_could_have_two_units_are_refused(numbers: list[float], message: str) -> None:
    with pytest.raises(UnclearTimesError) as caught:
        to_seconds(np.array(numbers, np.float64))
    assert caught.value.message.startswith(message)
    assert "`time_unit`" in caught.value.hint


@pytest.mark.parametrize(("unit", "factor"), [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)])
def test_a_unit_that_is_named_is_that_of_all_numbers(unit: TimeUnit, factor: float) -> None:
    numbers = np.array([1, 20240105, 1.6e9, 1.6e12, 1e25])
    assert to_seconds(numbers, unit)[0].tolist() == pytest.approx((numbers * factor).tolist(), rel=1e-12)


@given(st.lists(st.integers(10**8, 10**10 - 1), min_size=1), st.data())
def test_any_mixture_of_unmistakable_units_is_read(moments: list[int], data: st.DataObject) -> None:
    units = data.draw(st.lists(st.sampled_from([1, 10**3, 10**6, 10**9]), min_size=len(moments), max_size=len(moments)))
    numbers = np.array([moment * unit for moment, unit in zip(moments, units, strict=True)], np.float64)
    assert to_seconds(numbers)[0].tolist() == pytest.approx(moments, rel=1e-12)


@pytest.mark.parametrize(
    ("cell", "rating"),
    [
        ("5", 5.0),
        (" 4.5 ", 4.5),
        ("4,5", 4.5),
        (3, 3.0),
        ("1,234", None),
        ("1_0", None),
        ("nan", None),
        (True, None),
        (1e31, None),
        ("good", None),
        (None, None),
    ],
)
def test_ratings(cell: object, rating: float | None) -> None:
    assert rating_of(cell) == rating


@pytest.mark.parametrize("cell", ["1_0", "nan", "inf", "", None, True, [], 10**400])
def test_what_is_no_number(cell: object) -> None:
    assert number_of(cell) is None
