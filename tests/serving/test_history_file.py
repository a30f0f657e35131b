"""Histories from text: what a line means, and which line a message points at."""

from __future__ import annotations

import codecs
import io
import json

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.records import Interaction
from genrec_edge.serving.history_file import parse_history


def parse(text: str | bytes) -> list[Interaction]:
    data = text.encode() if isinstance(text, str) else text
    return list(parse_history(data.splitlines(keepends=True), "my.txt").interactions)


def test_a_line_is_a_title() -> None:
    assert parse("Toy Story\nMatrix, The\r\n  Amélie \n千と千尋の神隠し") == [
        Interaction("Toy Story"),
        Interaction("Matrix, The"),
        Interaction("Amélie"),
        Interaction("千と千尋の神隠し"),
    ]


def test_empty_lines_and_empty_files_mean_nothing() -> None:
    assert parse("\n  \n\tToy Story\n\n") == [Interaction("Toy Story")]
    assert parse("") == []


@pytest.mark.parametrize(
    ("line", "interaction"),
    [
        ('{"title": "Heat"}', Interaction("Heat")),
        ('{"id": "007"}', Interaction(id="007")),
        ('{"id": 7}', Interaction(id="7")),
        ('{"id": 0}', Interaction(id="0")),
        ('{"title": 1917}', Interaction("1917")),
        (
            '{"title": "Heat", "id": "h", "timestamp": 3, "rating": 4.5}',
            Interaction("Heat", "h", 3.0, 4.5),
        ),
        ('{"title": "Heat", "id": null, "timestamp": null, "rating": null}', Interaction("Heat")),
        ('{"title": "Heat", "timestamp": -1.5, "rating": 0}', Interaction("Heat", None, -1.5, 0.0)),
        ('  {"title": "Heat", "genres": ["Crime"], "note": {"a": 1}}', Interaction("Heat")),
        ('{"title": "\\ud83c\\udfac"}', Interaction("🎬")),
    ],
)
def test_a_line_that_begins_with_a_brace_is_json(line: str, interaction: Interaction) -> None:
    assert parse(line) == [interaction]


@pytest.mark.parametrize(
    ("line", "interaction"),
    [
        ('{"title": "Heat", "year": 1995}', Interaction("Heat", year=1995)),
        ('{"title": "Heat", "year": "1995"}', Interaction("Heat", year=1995)),
        ('{"title": "Heat", "year": 1995.0}', Interaction("Heat", year=1995)),
        ('{"title": "Heat", "year": ""}', Interaction("Heat")),
        ('{"Title": "Heat", "Release Year": "1995-12-15"}', Interaction("Heat", year=1995)),
        ('{"name": "Heat", "id": 7.0}', Interaction("Heat", "7")),
        ('{"name": "Ann", "title": "Heat"}', Interaction("Heat")),
        ('{"title": "Heat", "rating": "5"}', Interaction("Heat", rating=5.0)),
        ('{"title": "Heat", "rating": " 4.5 "}', Interaction("Heat", rating=4.5)),
        ('{"title": "Heat", "rating": "4,5"}', Interaction("Heat", rating=4.5)),
        ('{"title": "Heat", "rating": ""}', Interaction("Heat")),
        ('{"title": "Heat", "timestamp": "2024-01-31"}', Interaction("Heat", timestamp=1706659200.0)),
        ('{"title": "Heat", "timestamp": "2024-01-31T20:15:00Z"}', Interaction("Heat", timestamp=1706732100.0)),
        ('{"title": "Heat", "timestamp": "2024-01-31T20:15:00+02:00"}', Interaction("Heat", timestamp=1706724900.0)),
        ('{"title": "Heat", "watched_at": "2024-01-31 20:15:00.000"}', Interaction("Heat", timestamp=1706732100.0)),
        ('{"title": "Heat", "timestamp": 1706732100000}', Interaction("Heat", timestamp=1706732100.0)),
        ('{"title": "Heat", "timestamp": "1706732100"}', Interaction("Heat", timestamp=1706732100.0)),
    ],
)
def test_years_times_and_ratings_are_read_however_they_are_written(line: str, interaction: Interaction) -> None:
    assert parse(line) == [interaction]


def test_what_was_not_used_or_had_to_be_decided_is_said_with_its_count() -> None:
    lines = [
        b'{"title": "Heat", "timestamp": 1706732100000, "mood": "dark"}',
        b'{"title": "Alien", "timestamp": 1706732000, "mood": "dark", "with": null, "genres": ["Horror"]}',
        b'{"title": "Ran", "mood": "dark"}',
    ]
    parsed = parse_history(lines, "my.txt")
    assert [entry.timestamp for entry in parsed.interactions] == [1706732100, 1706732000, None]
    assert parsed.notes == (
        "my.txt: the times are read as 1 in seconds, 1 in milliseconds",
        "my.txt: 1 of 3 entries have no time: all stay in their order",
        "my.txt: not used: 'mood' (3), 'genres' (1)",
    )
    many = [json.dumps({"title": "Heat", **{f"field {i}": i for i in range(9)}}).encode()]
    assert parse_history(many, "my.txt").notes[0].endswith("'field 4' (1), and 4 more")
    assert parse_history([b"Heat", b'{"id": 7, "rating": 1}'], "my.txt").notes == ()


def test_titles_and_json_may_be_mixed() -> None:
    assert parse('Heat\n{"id": 7}\n[REC]\n"Heat"') == [
        Interaction("Heat"),
        Interaction(id="7"),
        Interaction("[REC]"),
        Interaction('"Heat"'),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_title() -> None:
    assert parse(codecs.BOM_UTF8 + b"Heat\nAliens") == [Interaction("Heat"), Interaction("Aliens")]
    assert parse(codecs.BOM_UTF8 + b'{"title": "Heat"}') == [Interaction("Heat")]
    assert parse(codecs.BOM_UTF8) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('Heat\n\n{"title": "Heat"', "my.txt, line 3 begins like JSON and is not"),
        ("{}", "my.txt, line 1 has neither a title nor an id"),
        ('Heat\n{"rating": 3}', "my.txt, line 2 has neither a title nor an id"),
        ('{"title": null}', "my.txt, line 1 has neither a title nor an id"),
        ('{"title": ["Heat"]}', "my.txt, line 1: title is ['Heat']"),
        ('{"title": true}', "my.txt, line 1: title is True"),
        ('{"id": 1.5}', "my.txt, line 1: id is 1.5"),
        ('{"id": {"a": 1}}', "my.txt, line 1: id is {'a': 1}"),
        ('{"title": "Heat", "rating": "five"}', "my.txt, line 1: rating is 'five'"),
        ('{"title": "Heat", "rating": "1,234"}', "my.txt, line 1: rating is '1,234'"),
        ('{"title": "Heat", "rating": "4/5"}', "my.txt, line 1: rating is '4/5'"),
        ('{"title": "Heat", "my rating": [5]}', "my.txt, line 1: my rating is [5]"),
        ('{"title": "Heat", "year": "MCMXCV"}', "my.txt, line 1: year is 'MCMXCV'"),
        ('{"title": "Heat", "year": true}', "my.txt, line 1: year is True"),
        ('{"id": NaN}', "my.txt, line 1: id is nan"),
        ('{"title": "Heat", "rating": false}', "my.txt, line 1: rating is False"),
        ('{"title": "Heat", "rating": NaN}', "my.txt, line 1: rating is nan"),
        ('{"title": "Heat", "timestamp": Infinity}', "my.txt, line 1: timestamp is inf"),
        ('{"title": "Heat", "timestamp": 1e400}', "my.txt, line 1: timestamp is inf"),
        ('{"title": "Heat", "timestamp": ' + "9" * 400 + "}", "my.txt, line 1: timestamp is"),
        ('{"title": "Heat", "timestamp": "1/5/2024"}', "my.txt, line 1: timestamp is '1/5/2024'"),
        ('{"title": "Heat", "watched_at": "soon"}', "my.txt, line 1: watched_at is 'soon'"),
        ('{"title": "Heat", "timestamp": 1e25}', "my.txt: 1 times are of no clear unit: 1e+25"),
        ('Ran\n{"title": "Heat", "title": "Alien"}', "my.txt, line 2: the key 'title' stands twice in one object"),
        ('{"a": ' * 100_000, "my.txt, line 1 begins like JSON and is not"),
        ('{"a": ' + "[" * 100_000, "my.txt, line 1 begins like JSON and is not"),
        ('{"id": ' + "9" * 10_000 + "}", "my.txt, line 1 begins like JSON and is not"),
        ('{"title": {"' + "x" * 10_000 + '": 1}}', "my.txt, line 1: title is"),
        (b"Heat\nAm\xe9lie", "my.txt, line 2 is not UTF-8 (byte 3)"),
        (codecs.BOM_UTF16_LE + "Heat".encode("utf-16-le"), "my.txt, line 1 is not UTF-8 (byte 1)"),
    ],
)
def test_a_bad_line_is_named_in_one_short_line(text: str | bytes, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert error.value.message.startswith(message)
    assert len(error.value.message) < 300
    assert error.value.message.isprintable()
    assert error.value.hint


def test_a_binary_file_is_refused_at_its_first_line() -> None:
    with pytest.raises(UsageError, match="line 1 is not UTF-8"):
        parse(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


def test_lines_are_read_as_they_come() -> None:
    """A long file is never held as a whole: the first bad line ends the reading."""

    def lines() -> object:
        yield b"Heat\n"
        yield b"\xff\n"
        pytest.fail("read on after the bad line")

    with pytest.raises(UsageError, match="line 2"):
        parse_history(lines(), "standard input")  # type: ignore[arg-type]


def test_what_json_writes_is_read_back() -> None:
    titles = ["Heat", 'A "quoted" one', "back\\slash", "{brace", "\u2028", "tab\there"]
    text = "\n".join(json.dumps({"title": title, "timestamp": i}) for i, title in enumerate(titles))
    assert parse(text) == [Interaction(title, None, float(i)) for i, title in enumerate(titles)]


def test_a_line_without_end_is_refused_before_it_takes_all_memory() -> None:
    with pytest.raises(UsageError, match=r"my\.txt, line 2 has more than 1,048,576 bytes"):
        parse_history(io.BytesIO(b"Heat\n" + bytes(8 << 20)), "my.txt")
