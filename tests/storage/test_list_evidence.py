"""Commas between values and commas inside of them."""

from __future__ import annotations

import pytest

from genrec_edge.storage.list_evidence import ListEvidence


@pytest.mark.parametrize(
    ("name", "texts", "separator"),
    [
        ("country", ["Korea, South", "USA", "Congo, Democratic Republic of the", "China"], None),
        ("country", ["USA, UK", "UK", "France, USA", "Korea, South"], ","),
        ("countries", ["Korea, South", "USA", "UK", "China"], None),
        ("director", ["Lee, Ang", "Lee, Spike", "Yuen, Woo-ping"], None),
        ("director", ["Joel Coen, Ethan Coen", "Ethan Coen", "Ang Lee"], ","),
        ("cast", ["Tom Hanks, Tim Allen", "Robin Williams, Kirsten Dunst"], ","),
        ("actor", ["Tom Hanks, Tim Allen, Don Rickles", "Robin Williams"], ","),
        ("language", ["English, Old", "English", "French"], None),
        ("language", ["English, French", "French", "English"], ","),
        ("genres", ["Drama, War", "Comedy"], ","),
        ("country", ["Korea, South|USA", "Congo, Republic of|France", "Iran, Islamic Republic of"], "|"),
        ("tags", ["a;b", "c, d;e", "f"], ";"),
        ("tags", ["a", "b"], None),
    ],
)
def test_the_column_decides(name: str, texts: list[str], separator: str | None) -> None:
    evidence = ListEvidence(name)
    for text in texts:
        evidence.see(text)
    assert evidence.separator()[0] == separator


def test_a_close_decision_is_said() -> None:
    evidence = ListEvidence("country")
    for text in ("Korea, South", "USA", "UK"):
        evidence.see(text)
    assert evidence.separator() == (None, "single values, though 1 of 3 have a comma")
