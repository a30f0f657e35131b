"""`genrec-edge rerank`: candidates of a file or of standard input, the likeliest first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import assert_one_line, run_json, run_text

pytestmark = pytest.mark.model

HISTORY = ("-H", "Toy Story", "-H", "Aladdin")


def test_rerank_reads_candidates_from_a_file_and_from_stdin(films_options: tuple[str, ...]) -> None:
    lines = 'Heat (1995)\n{"title": "Alien"}\nFargo\nno such film at all\n'
    Path("some.txt").write_text(lines, encoding="utf-8")
    document = run_json("rerank", *films_options, *HISTORY, "--candidates", "some.txt", "--intent", "horror")
    assert document["schema"] == "genrec-edge/rerank@1"
    assert {(item["title"], item["fits"]) for item in document["items"]} == {
        ("Heat", False),
        ("Alien", True),
        ("Fargo", False),
    }
    scores = [item["score"] for item in document["items"]]
    assert scores == sorted(scores, reverse=True)
    assert [left["input"] for left in document["left_out"]] == ["no such film at all"]
    shown = run_text("rerank", *films_options, *HISTORY, "--candidates", "-", "--intent", "horror", stdin=lines)
    assert shown.stdout.index(document["items"][0]["title"]) < shown.stdout.index(document["items"][2]["title"])
    assert "fits" in shown.stdout
    assert "left out 'no such film at all'" in shown.stderr
    lines = '{"title": "Heat (1995)", "year": 1972}\nalien\n'
    shown = run_text("rerank", *films_options, *HISTORY, "--candidates", "-", stdin=lines)
    assert "Heat (1995): the year given beside it counts, 1972, not 1995\n" in shown.stderr
    assert "understood 'alien' as Alien (1979)" in shown.stderr
    assert "1972" in shown.stdout


def test_bad_input_is_one_line(films_options: tuple[str, ...]) -> None:
    assert_one_line(("rerank", "--candidates", "nowhere.txt", *films_options), "cannot read nowhere.txt")
