"""The same job for every system: the ten best titles of the catalog after a history of twenty.

    python -m benchmarks.peers --data ml-100k --requests 10 --out peers
    python -m benchmarks.peers --model smollm2-135m --requests 3 --out peers-untuned

Same weights, same prompts, same titles, one process for each system, one after the other in one run. Histories are the
last twenty films of users of a data set that the catalog has, or drawn from the catalog without --data. The first
request of each process is not counted. Needs the extra [train] for transformers, and llguidance 1.9 to measure that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.peer_systems import SYSTEMS, Job
from benchmarks.setting import OTHERS, OURS, print_setting, print_table, setting, write
from genrec_edge import Recommender
from genrec_edge.catalog.titles import model_titles
from genrec_edge.cli.output import progress
from genrec_edge.coordinates import CatalogRows, TriePosition
from genrec_edge.datasets import folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.coordinates import CatalogRow


LENGTH = 20
TOP = 10
_COLUMNS = ("time", "ratio", "peak memory", "tokens", "start-up", "of the top 10", "invalid", "repeated")


def job_of(
    r: Recommender, histories: Sequence[Sequence[CatalogRow]], n_threads: int, limit: int | None, seed: int
) -> Job:
    """Return the job of histories of catalog rows under a recommender's model, catalog and score."""
    listed = list(r.catalog.titles())
    position_of = {row: TriePosition(position) for position, row in enumerate(r.session.trie.rows.tolist())}
    order = np.random.default_rng(seed).permutation(len(listed)).tolist()  # which titles a limited grammar knows
    texts = model_titles([(title, year) for _, title, year in listed])
    described = r.session.describe_model()
    return Job(
        model=str(described["path"]),
        catalog=str(r.catalog.path),
        score=str(described["score"]),
        prompts=[list(r.session.prompts.build(CatalogRows(np.array(history)))[0]) for history in histories],
        histories=[[item.id for item in r.catalog.items(history)] for history in histories],
        titles=[list(r.session.trie.path(position_of[listed[i][0]])) for i in order],
        texts=[texts[i] for i in order],
        rows=[listed[i][0] for i in order],
        newline_id=r.session.engine.model.newline_id,
        k=TOP,
        n_threads=n_threads,
        limit=limit,
        seed=seed,
    )


def drawn_histories(r: Recommender, n: int, seed: int) -> list[list[CatalogRow]]:
    """Return `n` histories of films with awards, drawn at random."""
    rows = r.catalog.filter("awards IS NOT NULL")
    rng = np.random.default_rng(seed)
    return [rng.choice(rows, LENGTH, replace=False).tolist() for _ in range(n)]


def real_histories(r: Recommender, name: str, n: int, seed: int) -> list[list[CatalogRow]]:
    """Return the latest films of `n` users of a data set, as far as the catalog has them."""
    data = folder.load(name)
    row_of: dict[int, CatalogRow | None] = {}
    histories = []
    for user in np.random.default_rng(seed).permutation(data.n_users).tolist():
        mine = np.flatnonzero(data.users == user)
        found: list[CatalogRow] = []
        for item in data.items[mine[np.argsort(data.timestamps[mine], kind="stable")]].tolist():
            if item not in row_of:
                title, year = data.titles[item]
                match = r.resolve(title if year is None else f"{title} ({year})")
                row_of[item] = None if match.item is None else match.item.row
            row = row_of[item]
            found += [row] if row is not None and row not in found else []
        if len(found) >= LENGTH:
            histories.append(found[-LENGTH:])
        if len(histories) == n:
            break
    return histories


def run(name: str, job: Job) -> dict[str, Any]:
    """Run a system in a process of its own and return what it reports."""
    command = [sys.executable, "-m", "benchmarks.peer_systems", name]
    done = subprocess.run(command, input=json.dumps(asdict(job)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def figures_of(outcome: dict[str, Any], truth: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return medians over the requests, and the share of the true top ten that was found."""
    answers = outcome["answers"]
    shares = [len(set(a["rows"][:TOP]) & set(best)) / TOP for a, best in zip(answers, truth, strict=True)]
    return {
        "seconds_p50": statistics.median(a["seconds"] for a in answers),
        "tokens_p50": statistics.median(a["tokens"] for a in answers),
        "peak_mib": outcome["peak_mib"],
        "startup_s": outcome["startup_s"],
        "top_share": statistics.mean(shares),
        "invalid": statistics.mean(a["invalid"] for a in answers) / TOP,
        "repeated": statistics.mean(a["repeated"] for a in answers) / TOP,
    }


def show(figures: dict[str, dict[str, float]]) -> None:
    """Print a row for each system; the ratio is its time over ours."""
    ours = figures["ours"]["seconds_p50"]
    rows = [
        (
            name,
            f"{f['seconds_p50']:.2f} s",
            f"{f['seconds_p50'] / ours:.1f}x",
            f"{f['peak_mib']:,.0f} MiB",
            f"{f['tokens_p50']:,.0f}",
            f"{f['startup_s']:.1f} s",
            "the top" if name == "one by one" else f"{f['top_share']:.0%}",
            f"{f['invalid']:.0%}",
            f"{f['repeated']:.0%}",
        )
        for name, f in figures.items()
    ]
    print_table(("", *_COLUMNS), rows)


def picture(figures: dict[str, dict[str, float]]) -> Figure:
    """Draw time and memory of every system."""
    figure = Figure(figsize=(9, 0.45 * len(figures) + 1.3), layout="constrained")
    names = list(figures)[::-1]
    colours = [OURS if name == "ours" else OTHERS for name in names]
    panels = (("seconds_p50", "seconds a request (median, logarithmic)"), ("peak_mib", "peak memory, MiB"))
    for axes, (key, label) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        values = [figures[name][key] for name in names]
        axes.barh(names, values, color=colours)
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        for i, name in enumerate(names):
            of_top = "exact" if name in {"ours", "one by one"} else f"{figures[name]['top_share']:.0%} of the top 10"
            text = f" {values[i]:.2f} s, {of_top}" if key == "seconds_p50" else f" {values[i]:,.0f}"
            axes.annotate(text, (values[i], i), va="center", fontsize=8)
        if key == "seconds_p50":
            axes.set_xscale("log")
            axes.set_xlim(min(values) / 3, max(values) * 100)
        axes.margins(x=0.25)
    return figure


def main() -> None:
    """Run all systems, print a table, and write figures and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="of the store, or a .gguf file; the default one")
    parser.add_argument("--catalog", type=Path, help="the films that come along")
    parser.add_argument("--data", metavar="NAME", help="take the histories of users of a data set")
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument("--systems", help=f"some of: {', '.join(SYSTEMS)}; separated by commas", default=None)
    parser.add_argument("--limit", type=int, default=200, help="titles that a GBNF grammar knows; 0 for all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for peers.json and peers.png")
    options = parser.parse_args()
    if options.requests < 2:
        parser.error("ask for two requests at least: the last one is also the first, which is not counted")
    chosen = [] if options.systems is None else [name for name in SYSTEMS if name in options.systems]
    names = list(dict.fromkeys(["ours", *(chosen or SYSTEMS)]))
    record = setting("llguidance")
    print_setting(record)
    with Recommender.open(options.model, options.catalog, prior_kind="none") as r:
        n, seed = options.requests, options.seed
        histories = drawn_histories(r, n, seed) if options.data is None else real_histories(r, options.data, n, seed)
        job = job_of(r, histories, options.threads, options.limit or None, seed)
    outcomes = {}
    with progress("systems", len(names)) as advance:
        for name in names:
            outcomes[name] = run(name, job)
            advance(1)
    truth = [answer["rows"] for answer in outcomes["ours"]["answers"]]
    figures = {name: figures_of(outcome, truth) for name, outcome in outcomes.items()}
    print(f"{Path(job.model).name}, {job.score} score, {len(job.titles):,} titles, {n} requests, seed {seed}")
    if "GBNF" in figures:
        print(f"GBNF knows {job.limit or len(job.titles):,} of the titles; one by one does 150 and is scaled")
    show(figures)
    if options.out is not None:
        record |= {"job": {"model": Path(job.model).name, "score": job.score, "titles": len(job.titles)}}
        write(options.out, "peers", record | {"figures": figures, "outcomes": outcomes}, picture(figures))


if __name__ == "__main__":
    main()
