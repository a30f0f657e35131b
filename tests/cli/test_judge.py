"""`genrec-edge judge` and `compare`: a verdict on each item, and which of two is liked more."""

from __future__ import annotations

import pytest

from tests.support.commands import assert_one_line, run_json, run_text

pytestmark = pytest.mark.model

HISTORY = ("-H", "Toy Story", "-H", "Aladdin")


def test_judge_and_compare_print_tables_and_json(films_options: tuple[str, ...]) -> None:
    judged = run_json("judge", "Alien", "Fargo", *films_options, *HISTORY)
    assert [item["title"] for item in judged["items"]] == ["Alien", "Fargo"]
    assert all(0 < item["p_yes"] < 1 for item in judged["items"])
    assert judged["calibrated"] is False
    assert [(entry["title"], entry["year"]) for entry in judged["resolved"]] == [("Toy Story", 1995)]
    assert [entry["input"] for entry in judged["unresolved"]] == ["Aladdin"]
    said = run_text("judge", "heat", *films_options, *HISTORY).stderr
    assert "as written: Toy Story (1995)\n" in said
    assert "left out 'Aladdin': Aladdin (1992) or (2019)?\n" in said
    assert "understood 'heat' as Heat (1995)" in said
    assert "took the one of 1995" in run_json("judge", "heat", *films_options, *HISTORY)["items"][0]["note"]
    shown = run_text("judge", "Alien", *films_options, *HISTORY)
    assert f"{judged['items'][0]['p_yes']:.0%}" in shown.stdout
    assert "was not calibrated" in shown.stderr
    compared = run_json("compare", "Alien", "Fargo", *films_options, *HISTORY)
    assert (compared["a"]["title"], compared["b"]["title"]) == ("Alien", "Fargo")
    assert [entry["year"] for entry in compared["resolved"]] == [1995]
    assert compared["agrees"] == ((compared["p_a_first"] > 0.5) == (compared["p_a_second"] > 0.5))
    shown = run_text("compare", "Alien", "heat", *films_options, *HISTORY)
    assert "understood 'heat' as Heat (1995)" in shown.stderr
    assert f"{compared['p_a']:.0%}" in run_text("compare", "Alien", "Fargo", *films_options, *HISTORY).stdout


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (("judge", "No such film at all"), "cannot judge what is not surely in the catalog", 3),
        (("compare", "Alien", "Alien"), "are the same item", 2),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, exit_code: int, films_options: tuple[str, ...]
) -> None:
    assert_one_line((*arguments, *films_options), message, exit_code=exit_code)
