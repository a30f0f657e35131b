"""`genrec-edge describe` and `queries`: a history in traits, an item in phrases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.commands import assert_one_line, run_json, run_text

if TYPE_CHECKING:
    from pathlib import Path

HISTORY = ("-H", "Toy Story", "-H", "Aladdin")


@pytest.mark.model
def test_describe_prints_traits_and_json(films_options: tuple[str, ...]) -> None:
    described = run_json("describe", *films_options, *HISTORY, "-k", "3")
    assert len(described["traits"]) == 3
    text = run_text("describe", *films_options, *HISTORY, "-k", "3")
    assert described["traits"][0]["value"] in text.stdout
    assert [(entry["title"], entry["year"]) for entry in described["resolved"]] == [("Toy Story", 1995)]
    assert [entry["input"] for entry in described["unresolved"]] == ["Aladdin"]
    assert "left out 'Aladdin': Aladdin (1992) or (2019)?\n" in text.stderr
    assert "as written: Toy Story (1995)\n" in text.stderr
    assert f"by counting: {described['summary']}" in text.stderr


@pytest.mark.slow
def test_only_what_speaks_for_the_titles_is_liked(tiny_llama: Path, twelve_films_path: Path) -> None:
    options = ("--model", str(tiny_llama), "--catalog", str(twelve_films_path), "--threads", "1", "-k", "40")
    history = ("-H", "Alien", "-H", "Big")
    traits = run_json("describe", *options, *history)["traits"]
    text = run_text("describe", *options, *history)
    liked = [trait["value"] for trait in traits if trait["nats"] > 0]
    against = [f"{trait['value']} ({trait['column']}, {trait['nats']:+.2f})" for trait in traits if trait["nats"] <= 0]
    assert liked
    assert against
    _, rows = text.stdout.replace("─", "").split("titles", 1)
    assert [line.strip().split("  ")[0] for line in rows.splitlines() if line.strip()] == liked
    assert f"the model does not expect them for it: {', '.join(against)}" in " ".join(text.stderr.split())


@pytest.mark.model
def test_queries_prints_phrases_and_json(films_options: tuple[str, ...]) -> None:
    asked = run_json("queries", "Fargo", *films_options, "-k", "4")
    assert asked["item"]["title"] == "Fargo"
    assert "took the one of 1995" in run_json("queries", "heat", *films_options, "-k", "1")["item"]["note"]
    assert "as written: Fargo (1996)" in run_text("queries", "Fargo", *films_options, "-k", "1").stderr
    assert all(phrase["items"] >= 1 for phrase in asked["phrases"])
    assert asked["phrases"][0]["text"] in run_text("queries", "Fargo", *films_options, "-k", "4").stdout


@pytest.mark.model
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
