"""Items and titles that are not understood, as JSON: written out by hand."""

from __future__ import annotations

from dataclasses import replace

from genrec_edge.coordinates import CatalogRow
from genrec_edge.records import Item, Match, Reason, Recommendation
from genrec_edge.serving.serialize import item_json, unresolved_json

ALIEN = Item(CatalogRow(4), "004", "Alien", 1979, {"genres": "Horror"})
M = Item(CatalogRow(9), "9", "M")
PLAIN = Recommendation(1, ALIEN, -1.5, -2.0, 0.5)
PLAIN_JSON = {"rank": 1, "id": "004", "title": "Alien", "year": 1979, "score": -1.5, "logprob": -2.0, "bias": 0.5}


def test_an_item_without_extras_has_its_name_and_its_score() -> None:
    assert item_json(PLAIN) == PLAIN_JSON
    assert list(item_json(PLAIN)) == list(PLAIN_JSON)


def test_an_item_has_what_its_request_needed() -> None:
    grounding = Match("alein", ALIEN, "fuzzy", 0.75)
    rich = replace(PLAIN, prior=-3.0, fits=False, reasons=(Reason(M, 0.25),), grounding=grounding)
    assert item_json(rich) == PLAIN_JSON | {
        "prior": -3.0,
        "fits": False,
        "reasons": [{"id": "9", "title": "M", "year": None, "nats": 0.25}],
        "grounding": {"input": "alein", "method": "fuzzy", "confidence": 0.75},
    }


def test_a_title_that_is_not_understood_names_what_is_near() -> None:
    assert unresolved_json(Match("Mm", None, "ambiguous", 0.5, (M, ALIEN))) == {
        "input": "Mm",
        "method": "ambiguous",
        "candidates": [{"id": "9", "title": "M", "year": None}, {"id": "004", "title": "Alien", "year": 1979}],
    }
    assert unresolved_json(Match("Zardoz", None, "none", 0.0))["candidates"] == []
