"""Text with a delimiter: which one it is, quotes and line breaks in cells, and files without a header."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec_edge.errors import UsageError
from genrec_edge.storage.tables import open_source

if TYPE_CHECKING:
    from pathlib import Path


def rows_of(path: Path, text: str) -> list[tuple[int, list[object]]]:
    path.write_bytes(text.encode())
    return list(open_source(path).rows())


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            'title\tplot\nAlien\t"In space\nnobody hears"\nHeat\t"x"\n',
            [(2, ["Alien", "In space\nnobody hears"]), (4, ["Heat", "x"])],
        ),
        ('plot\ttitle\n"a\n\nb"\tAlien\nc\tHeat\n', [(2, ["a\n\nb", "Alien"]), (5, ["c", "Heat"])]),
        ('a\tb\tc\n1\t"x\ty"\t2\n', [(2, ["1", "x\ty", "2"])]),
        ('a\tb\tc\n1\t"x\ty\nz ""q"""\t2\n', [(2, ["1", 'x\ty\nz "q"', "2"])]),
        ('a\tb\n1\t"Rome\n2\tThe "Best"\n3\t12"\n', [(2, ["1", '"Rome']), (3, ["2", 'The "Best"']), (4, ["3", '12"'])]),
        ('a\tb\n1\t"open\n', [(2, ["1", '"open'])]),
        ('title\n"Good,\nBad"\nHeat\n', [(2, ["Good,\nBad"]), (4, ["Heat"])]),
        ('title\n"Heat\n"Alien"\n', [(2, ['"Heat']), (3, ["Alien"])]),
        ("sep=;\r\nid;title\r\n1;a,b\r\n", [(3, ["1", "a,b"])]),
        ('"sep=|"\nid|title\n1|a,b,c\n', [(3, ["1", "a,b,c"])]),
        ("sep=\t\nid\ttitle\n1\tx\n", [(3, ["1", "x"])]),
        ('"a;b;c",d\n1,2\n', [(2, ["1", "2"])]),
        ("id::title::genres\n1::City, The::A|B\n", [(2, ["1", "City, The", "A|B"])]),
        ('id,title\n1,"a\r\nb"\n2,c\n', [(2, ["1", "a\r\nb"]), (4, ["2", "c"])]),
    ],
)
def test_records(text: str, rows: list[tuple[int, list[object]]], tmp_path: Path) -> None:
    assert rows_of(tmp_path / "a.txt", text) == rows


def test_names_of_columns_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "movies.dat"
    path.write_text("1::Toy Story (1995)::Comedy\n2::Jumanji (1995)::Drama|War\n")
    source = open_source(path, columns=["id", "title", "genres"])
    assert source.columns == ["id", "title", "genres"]
    assert [number for number, _ in source.rows()] == [1, 2]
    with pytest.raises(UsageError, match="line 1: 3 fields, but 2 names"):
        open_source(path, columns=["id", "title"])
    (tmp_path / "a.json").write_text('{"a": 1}')
    with pytest.raises(UsageError, match="has names of columns already"):
        open_source(tmp_path / "a.json", columns=["a"])


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(records=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8), delimiter=st.sampled_from(",;|\t"))
def test_what_a_program_writes_comes_back(records: list[tuple[str, str, str]], delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerow(["a", "b", "c"])
        writer.writerows(records)
    found = [cells for _, cells in open_source(path).rows()]
    if delimiter == "\t":  # lines end there as in text files
        records = [tuple(cell.replace("\r\n", "\n").replace("\r", "\n") for cell in row) for row in records]  # type: ignore[misc]
    assert found == [list(row) for row in records if any(row)]


def test_a_line_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrec_edge.storage.text_files.MAX_LINE_CHARACTERS", 1000)
    with pytest.raises(UsageError, match="line 3: longer than 1,000 characters"):
        rows_of(tmp_path / "a.csv", "id,title\n1,x\n" + "y" * 2000)
