"""`genrec-edge describe` and `queries`: a history in traits, an item in phrases."""

from __future__ import annotations

import pytest

from tests.support.commands import assert_one_line, run_json, run_text

pytestmark = pytest.mark.model

HISTORY = ("-H", "Toy Story", "-H", "Aladdin")


def test_describe_prints_traits_and_json(films_options: tuple[str, ...]) -> None:
    described = run_json("describe", *films_options, *HISTORY, "-k", "3")
    assert len(described["traits"]) == 3
    text = run_text("describe", *films_options, *HISTORY, "-k", "3")
    assert described["traits"][0]["value"] in text.stdout
    assert f"by counting: {described['summary']}" in text.stderr


def test_queries_prints_phrases_and_json(films_options: tuple[str, ...]) -> None:
    asked = run_json("queries", "Fargo", *films_options, "-k", "4")
    assert asked["item"]["title"] == "Fargo"
    assert all(phrase["items"] >= 1 for phrase in asked["phrases"])
    assert asked["phrases"][0]["text"] in run_text("queries", "Fargo", *films_options, "-k", "4").stdout


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (("describe",), "--history must name at least one title to describe, got none", 2),
        (("queries", "No such film at all"), "cannot ask for what is not surely in the catalog", 3),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, exit_code: int, films_options: tuple[str, ...]
) -> None:
    assert_one_line((*arguments, *films_options), message, exit_code=exit_code)
