"""Forty histories of today and their ten answers each, to be read by a person: docs/panel.md.

    python -m benchmarks.panel [--model NAME|FILE] [--out docs/panel.md]

Figures say how often a model is right about what somebody watched next; they do not say whether a list makes sense.
The histories are in `panel.toml`.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge import Recommender
from genrec_edge.catalog.namesakes import label
from genrec_edge.cli.render import carried_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from genrec_edge.records import Result

PANEL = Path(__file__).with_name("panel.toml")
_HEAD = """# The panel

Forty histories of today, and what `genrec-edge recommend` answers with the default model and the films that come along.
Made by `python -m benchmarks.panel`; read line by line by the people who work on it: what is wrong is named at the end.

"""


def histories() -> dict[str, list[str]]:
    """Return the histories by name."""
    return dict(tomllib.loads(PANEL.read_text(encoding="utf-8"))["histories"])


def sections(recommender: Recommender, panel: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the section of each history."""
    for name, titles in panel.items():
        result = recommender.recommend(titles)
        yield "\n".join([f"## {name}", "", _understood(result), "", *_answers(result), ""])


def _understood(result: Result) -> str:
    named = "; ".join(label(match.item) for match in result.resolved if match.item is not None)
    missing = ", ".join(match.input for match in result.unresolved)
    return named + (f". **Not understood: {missing}**" if missing else "")


def _answers(result: Result) -> list[str]:
    return [f"{r.rank}. {label(r.item)} ({carried_by(r)})" for r in result.items]


def main() -> None:
    """Write the document."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "panel.md")
    arguments = parser.parse_args()
    judged = ""
    if arguments.out.exists() and "\n# What is wrong" in (text := arguments.out.read_text(encoding="utf-8")):
        judged = text[text.index("\n# What is wrong") :]
    with Recommender.open(arguments.model) as recommender:
        document = _HEAD + "\n".join(sections(recommender, histories()))
    arguments.out.write_text(document + judged, encoding="utf-8")


if __name__ == "__main__":
    main()
