"""`genrec-edge bench` on the histories of real people: the last 21 films of MovieLens-100K users.

    pip download --no-deps recbole==1.2.1
    python benchmarks/users.py recbole-1.2.1-py3-none-any.whl --users 100

The ratings may be used for research and not be passed on, so they are read out of the package and nothing is kept.
Films are matched by title and year; users with fewer than 21 matched films are left out.
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections import defaultdict
from pathlib import Path

from genrec_edge.cli.bench import measure, show_figures
from genrec_edge.cli.output import progress
from genrec_edge.recommender import Recommender
from genrec_edge.records import Interaction

FOLDER = "recbole/dataset_example/ml-100k"
LENGTH = 21


def read_rows(wheel: zipfile.ZipFile, name: str) -> list[list[str]]:
    """Return the rows of a tab-separated file, without its header."""
    text = io.TextIOWrapper(wheel.open(f"{FOLDER}/{name}"), encoding="utf-8").read()
    return [line.split("\t") for line in text.splitlines()[1:]]


def histories(wheel_path: Path, r: Recommender) -> list[list[Interaction]]:
    """Return the last films of every user who has enough of them, oldest first."""
    with zipfile.ZipFile(wheel_path) as wheel:
        films, events = read_rows(wheel, "ml-100k.item"), read_rows(wheel, "ml-100k.inter")
    item_ids = {}
    for film, title, year, *_ in films:
        match = r.resolve(f"{title} ({year})")
        if match.item is not None:
            item_ids[film] = match.item.id
    users: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
    for user, film, _, timestamp in events:
        if film in item_ids:
            users[int(user)].append((float(timestamp), item_ids[film]))
    ordered = [sorted(users[user], key=lambda event: event[0]) for user in sorted(users)]
    return [[Interaction(id=item_id) for _, item_id in films[-LENGTH:]] for films in ordered if len(films) >= LENGTH]


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--users", type=int, default=100, help="how many, spread evenly over all")
    parser.add_argument("--model", help="of the store, or a .gguf file; the default one")
    parser.add_argument("--score", choices=("vocabulary", "catalog"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    with Recommender.open(options.model, score=options.score, n_threads=options.threads) as r:
        everyone = histories(options.wheel, r)
        chosen = everyone[:: max(1, len(everyone) // options.users)][: options.users]
        with progress("users", len(chosen)) as advance:
            figures = measure(r, chosen, k=10, advance=advance)
    show_figures(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
