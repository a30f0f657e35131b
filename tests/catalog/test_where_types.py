"""Comparisons that SQLite would answer wrong without a word."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    folder = tmp_path_factory.mktemp("types")
    text = "id,title,year,runtime,score,length,genres\n7,Heat,1995,170,8.3,2 h,Drama|7\n8,1984,1984,110,7.1,9,War\n"
    (folder / "s.csv").write_text(text)
    build(folder / "s.csv", folder / "c.db")
    with Catalog.open(folder / "c.db") as catalog:
        yield catalog


@pytest.mark.parametrize(
    "where",
    [
        "length >= 100",
        "length > (1 + 1)",
        "length > (99 + (1))",
        "(runtime + 1) < length",
        "length > TRUE",
        "title = false",
        "(length, year) > (5, 3)",
        "(year, title) = (1995, 1984)",
        "100 < length",
        "length > -5",
        "LENGTH >= 100",
        '"length" >= 1e2',
        "length BETWEEN 1 AND 100",
        "length NOT BETWEEN '1' AND 100",
        "100 BETWEEN length AND '9'",
        "length = 9",
        "length IN ('2 h', 9)",
        "length NOT IN (9)",
        "year = 1995 AND (title = 'x' OR NOT length < 100)",
        "title = 1984",
        "length > year",
        "length > runtime + 1",
        "genres > 5",
        "year >= 'x'",
        "year < '1990s'",
        "runtime <> 'many'",
        "score BETWEEN 'low' AND 'high'",
        'runtime = "many"',
        "substr(title, 1, 4) = 1984",
        "length(title) = '4'",
        "lower(title) > 5",
        "title || '' > 5",
        "(length) >= 100",
        "100 <= ((length))",
        "NOT (length) >= 100",
        "year > 1990 AND (length) BETWEEN 100 AND 200",
        "length > (100)",
        "(lower(title)) > 5",
        "length COLLATE NOCASE >= 100",
        "coalesce(length, 0) >= 100",
        "100 <= ifnull(length, 0)",
        "nullif(length, 'NA') >= 100",
        "max(year, length) > 100",
        "(min(coalesce(nullif(length, 'NA'), 0), 7)) > 100",
        "coalesce(year, 0) > '1990'",
    ],
)
def test_a_text_and_a_number_are_not_compared(where: str, catalog: Catalog) -> None:
    with pytest.raises(UsageError, match=r"is a number|and .* a number"):
        catalog.filter(where)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("runtime >= 100", [1, 2]),
        ("runtime > 110", [1]),
        ("runtime > '110'", [1]),
        ("score < 8", [2]),
        ("year BETWEEN 1990 AND 1999 AND title = 'Heat'", [1]),
        ("year NOT BETWEEN 1990 AND 1999", [2]),
        ("id = 7", [1]),
        ("id IN (7, 8)", [1, 2]),
        ("genres = 7", [1]),
        ("genre IN (7, 'War')", [1, 2]),
        ("title = '1984'", [2]),
        ("CAST(length AS INTEGER) >= 9", [2]),
        ("length + 0 >= 9", [2]),
        ("length(title) = 4", [1, 2]),
        ("substr(title, 1, 2) = '19'", [2]),
        ("year - 1 = 1994", [1]),
        ("substr(title, 1, 4) = year", [2]),
        ("CASE WHEN year > 1990 THEN 'new' ELSE 'old' END = 'new'", [1]),
        ("length > '2'", [1, 2]),
        ("title > id", [1]),
        ("year > runtime", [1, 2]),
        ("round(score) = 8", [1]),
        ("(year) >= 1990", [1]),
        ("(year, title) = (1995, 'Heat')", [1]),
        ("(runtime + 1) > 100", [1, 2]),
        ("(year > 1990) = TRUE", [1]),
        ("(CASE WHEN year - 1 > 1990 THEN length ELSE length END) > '1'", [1, 2]),
        ("title = (title || '')", [1, 2]),
        ("(year) >= '1990'", [1]),
        ("(length + 0) >= 9", [2]),
        ("coalesce(year, 0) BETWEEN 1990 AND 1999", [1]),
        ("nullif(year, 1984) > 0", [1]),
        ("max(year, 1990) = 1990", [2]),
        ("(year > 1990) = (runtime > 110)", [1, 2]),
        ("(title = 'Heat') = 1", [1]),
        ("ifnull(length, 'x') = '9'", [2]),
        ("('a') > title", [1, 2]),
        ("year IS NOT NULL AND length IS NOT NULL", [1, 2]),
    ],
)
def test_other_comparisons_stay(where: str, rows: list[int], catalog: Catalog) -> None:
    assert list(catalog.filter(where)) == rows


@pytest.mark.parametrize(
    "part", ["year in (", "year between ", "(year between year and ", "length(", "1 in (1,", "max(2,", "max(2=", "("]
)
def test_long_conditions_are_checked_in_time(part: str, catalog: Catalog) -> None:
    where = part * (19_000 // (len(part) + 2)) + "1"
    where += ")" * where.count("(")
    start = time.process_time()
    with pytest.raises(UsageError):
        catalog.filter(where)
    assert time.process_time() - start < 5
