"""Tables of text with a delimiter: CSV with any usual one, TSV, and `::` as in MovieLens."""

from __future__ import annotations

import csv
import re
from collections import deque
from typing import TYPE_CHECKING, cast

from genrec_edge.storage.numbers import is_plain_number
from genrec_edge.storage.table_source import TableSource, distinct_names
from genrec_edge.storage.text_files import MAX_LINE_CHARACTERS, lines_of, open_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from genrec_edge.storage.text_files import ReadShare

_RECBOLE_HEADER = re.compile(r"(?P<name>.+):(?P<type>token|token_seq|float|float_seq)")
_SEPARATOR_LINE = re.compile(r"\s*\"?sep=(?P<delimiter>[^\"\r\n])\"?\s*", re.IGNORECASE)
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_WHOLE_QUOTED = re.compile(r'(?:\A|(?<=\t))"[^"]*(?:""[^"]*)*"(?=\t|\Z)')
_MAX_LINES_AHEAD = 1000
_MAX_LINES_OF_SINGLE_CELL = 20
"""Of one quoted cell in a file with tabs; fewer in a file of one column, where every line looks like a record."""


class DelimitedTable(TableSource):
    """Rows of text; quotes may be unpaired where tabs separate, as in IMDb and RecBole files.

    The delimiter is the one most frequent in the first line, or what a line `sep=;` before it says.
    """

    def __init__(self, path: Path, first_line: str, columns: Sequence[str] | None, member: str | None) -> None:
        super().__init__(path, "line")
        self._member = member
        said = _SEPARATOR_LINE.fullmatch(first_line)
        self._first_number = 2 if said else 1
        self._delimiter = said["delimiter"] if said else _delimiter_of(first_line)
        first = next((cells for _, cells in self._records() if any(cells)), [])
        self._skips_header = columns is None
        if columns is None:
            self._read_header(first)
        else:
            self.columns = distinct_names(list(columns))
            if len(self.columns) != len(first):
                what = f"{len(first)} fields, but {len(self.columns)} names of columns are given"
                raise self.error(self._first_number, what, "name every column in `columns`")

    def rows(self) -> Iterator[tuple[int, list[object]]]:
        """Yield (number of the first line, texts)."""
        n_columns = len(self.columns)
        records = ((number, cells) for number, cells in self._records() if any(cells))
        if self._skips_header:
            next(records, None)
        for number, cells in records:
            if len(cells) > n_columns:
                raise self.error(
                    number,
                    f"{len(cells)} fields, but the header names {n_columns}",
                    'put fields that hold the delimiter in "double quotes"',
                )
            yield number, cast("list[object]", cells)

    def _read_header(self, first: list[str]) -> None:
        typed = [_RECBOLE_HEADER.fullmatch(name.strip()) for name in first]
        if all(typed):
            self.columns = distinct_names([match["name"] for match in typed if match])
            names = zip(self.columns, typed, strict=True)
            self.space_lists = frozenset(name for name, match in names if match and match["type"].endswith("_seq"))
        else:
            self.columns = distinct_names(first)
        self.has_number_in_header = any(is_plain_number(name.strip()) for name in first)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        keeps_ends = self._delimiter not in {"\t", "::"}
        with open_text(self.path, "" if keeps_ends else None, self._member) as (text, share):
            lines = lines_of(text, self.path)
            if self._first_number > 1:
                next(lines)
            if self._delimiter == "\t":
                yield from self._tabbed(lines, share)
            elif self._delimiter == "::":
                yield from self._colons(lines, share)
            else:
                yield from self._quoted(lines, share)

    def _colons(self, lines: Iterable[str], share: ReadShare) -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(lines, self._first_number):
            self._note_share(number, share)
            yield number, line.rstrip("\n").split("::")

    def _tabbed(self, lines: Iterator[str], share: ReadShare) -> Iterator[tuple[int, list[str]]]:
        """Yield records. A quoted cell may hold tabs and line breaks; a quote that is not closed is text."""
        n_columns = 0
        waiting: deque[str] = deque()
        number = self._first_number - 1
        while True:
            line = waiting.popleft() if waiting else next(lines, None)
            if line is None:
                return
            number += 1
            self._note_share(number, share)
            line = line.rstrip("\n")
            cells = line.split("\t")
            n_lines = 1
            if '"' in line:
                if _is_open(line):
                    n_lines, line = _closed(line, waiting, lines, n_columns)
                cells = _split_quoted(line, n_columns)
            n_columns = n_columns or len(cells)
            yield number, cells
            number += n_lines - 1

    def _quoted(self, lines: Iterable[str], share: ReadShare) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(MAX_LINE_CHARACTERS)
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        before = self._first_number - 1
        number = self._first_number
        try:
            for cells in reader:
                self._note_share(number, share)
                yield number, cells
                number = before + reader.line_num + 1
        except csv.Error as e:
            raise self.error(number, f"not valid CSV ({e})") from e

    def _note_share(self, number: int, share: ReadShare) -> None:
        if not number & 1023:
            self.share_read = share()


def _delimiter_of(line: str) -> str:
    """Return the delimiter of a line: a tab where there is none, so that commas in a single column are text."""
    bare = _QUOTED.sub("", line)
    if "::" in bare and "\t" not in bare:
        return "::"
    delimiter = max("\t,;|", key=bare.count)
    return delimiter if delimiter in bare else "\t"


def _unquoted(cell: str) -> str:
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell


def _is_open(line: str) -> bool:
    """Whether a cell of a line begins with a quote that this line does not close."""
    bare = "\t" + _WHOLE_QUOTED.sub("", line)
    return any(cell[:1] == '"' and '"' not in cell[1:].replace('""', "") for cell in bare.split("\t"))


def _closed(line: str, waiting: deque[str], lines: Iterator[str], n_columns: int) -> tuple[int, str]:
    """Return how many lines a record takes whose first one leaves a quote open, and the record as one text.

    The lines that follow belong to it until one closes the quote. It is text if the record would have too many cells
    then, or if its line and one that follows are whole records by themselves.
    """
    joined = line
    for n_ahead in range(_MAX_LINES_AHEAD if n_columns > 1 else _MAX_LINES_OF_SINGLE_CELL):
        if n_ahead == len(waiting):
            following = next(lines, None)
            if following is None:
                break
            waiting.append(following)
        more = waiting[n_ahead].rstrip("\n")
        are_whole = n_columns > 1 and line.count("\t") == more.count("\t") == n_columns - 1
        joined = f"{joined}\n{more}"
        if are_whole or len(joined) > MAX_LINE_CHARACTERS:
            break
        are_breaks_quoted = "\n" not in _WHOLE_QUOTED.sub("", joined)
        if are_breaks_quoted and not _is_open(joined) and len(_split_quoted(joined, n_columns)) <= n_columns:
            for _ in range(n_ahead + 1):
                waiting.popleft()
            return n_ahead + 2, joined
    return 1, line


def _split_quoted(line: str, n_columns: int) -> list[str]:
    """Return the cells of a record; quotes hide tabs where the record would have too many cells otherwise."""
    cells = line.split("\t")
    if len(cells) > n_columns > 0 or "\n" in line:
        cells, position = [], 0
        while position <= len(line):
            match = _WHOLE_QUOTED.match(line, position)
            end = match.end() if match else line.find("\t", position)
            end = len(line) if end < 0 else end
            cells.append(line[position:end])
            position = end + 1
    return [_unquoted(cell) for cell in cells]
