"""Recommend films after three titles, from the films that come with the package.

    genrec-edge models pull
    python examples/first_recommendation.py [MODEL]

MODEL is a name in the model store or a .gguf file; without it, the default model is used.
"""

from __future__ import annotations

import sys

from genrec_edge import Recommender


def main(model: str | None = None) -> None:
    """Print the five best films from 1990 on, and what carries each most: the model, or what is known without it."""
    history = ["Toy Story", "Aladdin", "The Lion King"]
    with Recommender.open(model) as recommender:
        result = recommender.recommend(history, k=5, where="year >= 1990")
    for match in result.unresolved:
        print(f"not in the catalog: {match.input}")
    for answer in result.items:
        most = max(answer.parts, key=lambda part: answer.parts[part], default="model")
        print(f"{answer.rank}. {answer.item.title} ({answer.item.year}): {most}")
    print("the exact top of the catalog" if result.exact else "the search ended early")


if __name__ == "__main__":
    main(*sys.argv[1:])
