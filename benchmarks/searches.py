"""The cost of an exact search and its lower limit, by k, length of the history, and threads.

    python -m benchmarks.searches --data ml-100k --requests 20 --out searches

The limit of a request is the time llama.cpp needs for the prompt and for the tokens that every exact search has to
evaluate: all prefixes of titles whose score is above that of the k-th answer, evaluated level by level in as few calls
as there are levels, by the same library on the same cores, with the logits it computes by itself. Everything else that
a request does is in its time and not in the limit: grounding the history, masks, the search, reading the rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.peers import drawn_histories, real_histories
from benchmarks.recorded import n_tokens, recorded_searches
from benchmarks.setting import OTHERS, OURS, print_setting, print_table, setting, write
from genrec_edge import Recommender
from genrec_edge.cli.output import progress
from genrec_edge.coordinates import CatalogRows, TokenId
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.engine.llama_engine import LlamaEngine, TokenRun
from genrec_edge.records import Interaction
from genrec_edge.serving import opening
from genrec_edge.storage import process_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.recorded import Step
    from genrec_edge.coordinates import CatalogRow
    from genrec_edge.records import Result

KS = (1, 3, 10, 30, 100)
LENGTHS = (1, 5, 20, 50, 100, 200)
THREADS = (1, 2)


class Plain:
    """llama.cpp alone: evaluates prompts and recorded steps, with all logits, without a trie."""

    def __init__(self, path: Path, n_threads: int) -> None:
        self._engine = LlamaEngine(Model(path), n_ctx=opening.DEFAULT_CTX, n_threads=n_threads)

    def seconds(self, prompt: Sequence[int], steps: Sequence[Step]) -> float:
        """Return the time for a prompt and steps, a call for each level of the trie."""
        levels: defaultdict[int, list[Step]] = defaultdict(list)
        depth = {ROOT: 0}
        for step in steps:  # parents come before their children
            depth[step.kv_node] = depth[step.parent] + 1
            levels[depth[step.kv_node]].append(step)
        node = {ROOT: ROOT}
        started = time.perf_counter()
        self._engine.prompt([TokenId(token) for token in prompt])
        for _, level in sorted(levels.items()):
            runs = [TokenRun(node[step.parent], tuple(map(TokenId, step.token_ids))) for step in level]
            for step, (made, _) in zip(level, self._engine.evaluate(runs), strict=True):
                node[step.kv_node] = made
        return time.perf_counter() - started


def near_the_limit(r: Recommender, histories: Sequence[Sequence[CatalogRow]], k: int) -> dict[str, Any]:
    """Return medians over requests: time and its limit, their ratio, tokens and the least of them."""
    plain = Plain(r.session.engine.model.path, r.session.engine.n_threads)
    rows: list[dict[str, float]] = []
    with recorded_searches() as recorded, progress("limit", len(histories)) as advance:
        for i, history in enumerate(histories):
            request_s, result = timed(r, history, k)
            needed = recorded.last.needed()
            limit_s = plain.seconds(r.session.prompts.build(CatalogRows(np.array(history)))[0], needed)
            if i:  # the first one pages the weights in
                new = result.timings.prompt_tokens - result.timings.reused_tokens
                least = n_tokens(needed)
                searched = result.timings.evaluated_tokens
                rows.append({"request_s": request_s, "limit_s": limit_s, "ratio": request_s / limit_s,
                             "prompt_tokens": new, "search_tokens": searched, "least_tokens": least,
                             "excess": searched / max(1, least)})  # fmt: skip
            advance(1)
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]} | {"requests": rows}


def timed(r: Recommender, history: Sequence[int], k: int) -> tuple[float, Result]:
    """Return the seconds of a request and its result."""
    entries = [Interaction(id=item.id) for item in r.catalog.items(list(history))]
    started = time.perf_counter()
    result = r.recommend(entries, k=k)
    return time.perf_counter() - started, result


def medians(r: Recommender, histories: Sequence[Sequence[CatalogRow]], k: int) -> dict[str, float]:
    """Return median time and tokens over histories, the first of which warms up."""
    found = [timed(r, history, k) for history in histories][1:]
    return {
        "seconds_p50": statistics.median(seconds for seconds, _ in found),
        "search_s_p50": statistics.median(result.timings.decode_s for _, result in found),
        "tokens_p50": statistics.median(result.timings.evaluated_tokens for _, result in found),
        "prompt_tokens_p50": statistics.median(result.timings.prompt_tokens for _, result in found),
        "exact": statistics.mean(result.exact for _, result in found),
    }


def long_histories(r: Recommender, n: int, seed: int) -> list[NDArray[np.int64]]:
    """Return `n` histories of the longest of `LENGTHS`, of films with awards."""
    rows, rng = r.catalog.filter("awards IS NOT NULL"), np.random.default_rng(seed)
    return [rng.choice(rows, max(LENGTHS), replace=False) for _ in range(n)]


def show(record: dict[str, Any]) -> None:
    """Print a table for each question."""
    limit = record["limit"]
    print(f"\nnear the limit: request {limit['request_s']:.3f} s, llama.cpp alone {limit['limit_s']:.3f} s,"
          f" ratio {limit['ratio']:.2f}; {limit['search_tokens']:.0f} tokens in search,"
          f" {limit['least_tokens']:.0f} at least ({limit['excess']:.2f} times)")  # fmt: skip
    for name, unit in (("k", "k"), ("history", "titles"), ("threads", "threads")):
        rows = [
            (key, f"{f['tokens_p50']:,.0f}", f"{f['prompt_tokens_p50']:,.0f}", f"{f['search_s_p50']:.3f} s",
             f"{f['seconds_p50']:.3f} s", f"{f['exact']:.0%}") for key, f in record[name].items()
        ]  # fmt: skip
        print()
        print_table((unit, "search tokens", "prompt tokens", "search", "request", "exact"), rows)
    print(f"\npeak memory {record['peak_mib']:,.0f} MiB")


def picture(record: dict[str, Any]) -> Figure:
    """Draw tokens and time by k and by length of the history, and requests against their limit."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, (name, label) in zip(panels, (("k", "k"), ("history", "titles in the history")), strict=False):
        found = record[name]
        axes.plot(
            [int(x) for x in found], [f["seconds_p50"] for f in found.values()], "o-", color=OURS, label="request"
        )
        axes.plot(
            [int(x) for x in found], [f["search_s_p50"] for f in found.values()], "o--", color=OTHERS, label="search"
        )
        for x, f in found.items():
            axes.annotate(f"{f['tokens_p50']:.0f}", (int(x), f["search_s_p50"]), fontsize=7, va="top")
        axes.set(xscale="log", xlabel=f"{label} (search tokens beside the points)", ylabel="seconds", ylim=(0, None))
        axes.legend(frameon=False)
    axes = panels[2]
    rows = record["limit"]["requests"]
    axes.plot([row["limit_s"] for row in rows], [row["request_s"] for row in rows], "o", color=OURS)
    most = 1.1 * max(max(row["limit_s"], row["request_s"]) for row in rows)
    axes.plot([0, most], [0, most], color=OTHERS, label="equal")
    axes.plot([0, most / 1.3], [0, most], color=OTHERS, linestyle="--", label="1.3 times")
    axes.set(xlabel="llama.cpp alone, least tokens: seconds", ylabel="request: seconds", xlim=(0, most), ylim=(0, most))
    axes.legend(frameon=False)
    for each in panels:
        each.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Measure all of it, print tables, and write figures and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="of the store, or a .gguf file; the default one")
    parser.add_argument("--data", metavar="NAME", help="histories of users of a data set; else drawn from the catalog")
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for searches.json and searches.png")
    options = parser.parse_args()
    n, seed = options.requests + 1, options.seed
    record = setting()
    print_setting(record)
    process_memory.reset_peak()
    with Recommender.open(options.model, n_threads=options.threads, prior_kind="none") as r:
        histories = drawn_histories(r, n, seed) if options.data is None else real_histories(r, options.data, n, seed)
        timed(r, histories[0], 10)
        record["peak_mib"] = process_memory.peak_mib()
        long = long_histories(r, n, seed)
        record["limit"] = near_the_limit(r, histories, 10)
        record["k"] = {str(k): medians(r, histories, k) for k in KS}
        record["history"] = {str(m): medians(r, [history[-m:].tolist() for history in long], 10) for m in LENGTHS}
    record["threads"] = {}
    for n_threads in THREADS:
        with Recommender.open(options.model, n_threads=n_threads, prior_kind="none") as r:
            record["threads"][str(n_threads)] = medians(r, histories, 10)
    show(record)
    if options.out is not None:
        write(options.out, "searches", record, picture(record))


if __name__ == "__main__":
    main()
