"""Requests that are refused before anything is looked up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.options import Request
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from genrec_edge import Recommender


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "`k` must be at least 1, got 0"),
        ({"k": -3}, "`k` must be at least 1, got -3"),
        ({"decode": "magic"}, "'magic'"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"bias": {"001": math.nan}}, "'001'"),
        ({"bias": {"no such id": 1.0}}, "no such id"),
        ({"bias": {"001": math.inf}}, "'001'"),
        ({"bias": {"001": -math.inf}}, "'001'"),
        ({"min_rating": math.nan}, "rating"),
        ({"timeout_s": math.nan}, "time"),
        ({"timeout_s": -1.0}, "time"),
        ({"seed": -1}, "seed"),
        ({"where": ""}, "empty"),
        ({"where": "rating > 5; DROP TABLE items"}, "';'"),
        ({"where": "no_such_column = 1"}, "no_such_column"),
        ({"history": "Toy Story"}, "list"),
        ({"exclude": "Toy Story"}, "list"),
        ({"candidates": "Toy Story"}, "list"),
        ({"history": ["Jaws", None]}, "`history` holds None, which is neither a title nor an Interaction"),
        ({"history": [{"title": "Jaws"}]}, "neither a title nor an Interaction"),
        ({"history": [("Jaws", 1975)]}, "neither a title nor an Interaction"),
        ({"exclude": [5]}, "`exclude` holds 5, which"),
        ({"candidates": [b"Jaws"]}, "`candidates` holds b'Jaws', which"),
        ({"history": [Interaction(title="Jaws", rating="5")]}, "rating is '5', not a finite number"),  # type: ignore[arg-type]
        ({"history": [Interaction(title="Jaws", year="1975")]}, "year is '1975', not a finite number"),  # type: ignore[arg-type]
        ({"history": [Interaction(title="Jaws", timestamp="2024-01-31")]}, "timestamp is '2024-01-31'"),  # type: ignore[arg-type]
        ({"history": [Interaction(title="Jaws", rating=math.nan)]}, "rating is nan"),
        ({"history": [Interaction(id=7)]}, "id is 7, not a text"),  # type: ignore[arg-type]
    ],
)
def test_arguments_out_of_range_are_refused(recommender: Recommender, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recommender.recommend(**arguments)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(task="reranking"), "`candidates` must name the items to rerank, got none"),
        (Request(task="reranking", candidates=()), "`candidates` must name the items to rerank, got none"),
        (Request(task="pointwise"), "a pointwise question needs one item as `candidates`, got none"),
        (Request(task="pairwise", candidates=("a",)), "a pairwise question needs two items as `candidates`, got 1"),
        (Request(task="pointwise", candidates=("Heat",)), "a pointwise question is not answered by items"),
        (Request(task="sorting"), "`task` must be one of matching, reranking, pointwise, pairwise, got 'sorting'"),  # type: ignore[arg-type]
        (
            Request(task="reranking", candidates=("Heat",), decode="free"),
            "`decode` must be exact for a reranking question, got 'free'",
        ),
        (Request(preference=" "), "`preference` must not be empty"),
        (Request(intent=""), "`intent` must not be empty"),
    ],
)
def test_what_makes_no_sense_is_one_line(twelve_films: Recommender, request_: Request, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        twelve_films.answer(request_)
