"""genrec-edge: exact generative recommendations on your own machine.

    from genrec_edge import Recommender

    with Recommender.open() as r:
        result = r.recommend(["Toy Story", "Aladdin"], k=10, where="year >= 1990")

Importing the package loads neither llama.cpp nor anything heavier than the standard library; names load on first use.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from genrec_edge._version import __version__

if TYPE_CHECKING:
    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.errors import GenRecError
    from genrec_edge.options import Request
    from genrec_edge.recommender import Recommender
    from genrec_edge.records import Interaction, Item, Match, Recommendation, Result, Timings

logging.getLogger(__name__).addHandler(logging.NullHandler())  # what llama.cpp logs is shown only on request

_HOME = {
    "Catalog": "catalog.reader",
    "GenRecError": "errors",
    "Interaction": "records",
    "Item": "records",
    "Match": "records",
    "Recommendation": "records",
    "Recommender": "recommender",
    "Request": "options",
    "Result": "records",
    "Timings": "records",
}
__all__ = [
    "Catalog",
    "GenRecError",
    "Interaction",
    "Item",
    "Match",
    "Recommendation",
    "Recommender",
    "Request",
    "Result",
    "Timings",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'genrec_edge' has no attribute {name!r}")
    return getattr(importlib.import_module(f"genrec_edge.{_HOME[name]}"), name)
