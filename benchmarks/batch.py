"""Users a second: `genrec-edge batch` with its engines and numbers of workers, beside one process that asks one by one.

    python -m benchmarks.batch --users 200 --json batch.json --plot batch.png

The same users for all: histories of 5 to 30 titles drawn from the shipped catalog. Each way runs in processes of its
own, all ways in turn, round after round; the median of the rounds counts. The rate is that of answering: for a job,
from its first finished chunk to its last, so without starting processes and opening models, which `whole_s` has.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from genrec_edge.catalog import Catalog, default_catalog_path

CHUNK = 16
WAYS: dict[str, tuple[str, ...]] = {
    "one by one, 2 threads": (),
    "local, 1 worker x 2": ("--workers", "1", "--threads", "2"),
    "local, 1 worker x 1": ("--workers", "1", "--threads", "1"),
    "local, 2 workers x 1": ("--workers", "2", "--threads", "1"),
    "ray, 1 actor x 1": ("--workers", "1", "--threads", "1", "--engine", "ray"),
    "ray, 2 actors x 1": ("--workers", "2", "--threads", "1", "--engine", "ray"),
}
MAIN = "from genrec_edge.cli import main; main()"
ONE_BY_ONE = """
import json, sys, time
from genrec_edge import Interaction, Recommender
users = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
with Recommender.open(n_threads=2) as r:
    started = time.perf_counter()
    for user in users:
        r.recommend([Interaction(**entry) for entry in user["history"]])
    print(len(users) / (time.perf_counter() - started))
"""


def write_users(path: Path, n_users: int, seed: int) -> None:
    """Write users with histories drawn at random from the shipped catalog."""
    rng = random.Random(seed)
    with Catalog.open(default_catalog_path()) as catalog, path.open("w", encoding="utf-8") as file:
        ids = [item.id for item in catalog.items(catalog.filter("1 = 1").tolist())]
        for n in range(n_users):
            history = [{"id": item_id} for item_id in rng.sample(ids, rng.randint(5, 30))]
            file.write(json.dumps({"user": n, "history": history}) + "\n")


def one_by_one(users_path: Path) -> float:
    """Return the rate of one process that asks user after user."""
    argv = [sys.executable, "-c", ONE_BY_ONE, str(users_path)]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def job(users_path: Path, options: tuple[str, ...], n_users: int) -> tuple[float, bytes]:
    """Return the rate of a job, and its rows."""
    with tempfile.TemporaryDirectory() as folder:
        out_path = Path(folder) / "rows.jsonl"
        argv = [sys.executable, "-c", MAIN, "batch", str(users_path), "--out", str(out_path), "--quiet", *options]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            first_s, n_first = 0.0, 0
            while process.poll() is None:
                done = len(list(out_path.with_name("rows.jsonl.parts").glob("[0-9]*.jsonl")))
                if done and not n_first:
                    first_s, n_first = time.perf_counter(), done * CHUNK
                if out_path.exists():
                    break
                time.sleep(0.01)
            seconds = time.perf_counter() - first_s
            said = process.stderr.read() if process.stderr else b""
        if process.returncode:
            raise SystemExit(said.decode())
        return (n_users - n_first) / seconds, out_path.read_bytes()


def plot(path: Path, figures: dict[str, Any]) -> None:
    """Draw a bar for each way."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    names = list(figures["ways"])[::-1]
    rates = [figures["ways"][name]["users_per_s"] for name in names]
    bars = axes.barh(names, rates, color=["#9aa5ad" if name.startswith("one") else "#2a6f97" for name in names])
    axes.bar_label(bars, [f"{rate:.2f}" for rate in rates], padding=3)
    axes.set_xlabel("users a second, after the start")
    axes.set_title(f"{figures['model']}, {figures['users']} users, {figures['machine']['cpus']} CPUs", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("batch.json"))
    parser.add_argument("--plot", type=Path, default=Path("batch.png"))
    options = parser.parse_args()
    if options.users <= 2 * CHUNK:
        parser.error(f"give more than {2 * CHUNK} --users: the first chunk of each worker is not counted")
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    whole: dict[str, list[float]] = {name: [] for name in WAYS}
    rows: set[bytes] = set()
    with tempfile.TemporaryDirectory() as folder:
        users_path = Path(folder) / "users.jsonl"
        write_users(users_path, options.users, options.seed)
        for _ in range(options.rounds):
            for name, way in WAYS.items():
                started = time.perf_counter()
                if way:
                    rate, written = job(users_path, way, options.users)
                    rows.add(written)
                else:
                    rate = one_by_one(users_path)
                rates[name].append(rate)
                whole[name].append(time.perf_counter() - started)
                print(f"{name:24} {rate:6.2f} users a second, {whole[name][-1]:6.1f} s in all", flush=True)
    figures = {
        "model": "genrec-films",
        "users": options.users,
        "rounds": options.rounds,
        "seed": options.seed,
        "machine": {"system": f"{platform.system()} {platform.machine()}", "cpus": os.cpu_count()},
        "versions": {name: version(name) for name in ("genrec-edge", "llama-cpp-python", "ray", "pyarrow")},
        "same_bytes": len(rows) == 1,
        "ways": {
            name: {"users_per_s": statistics.median(rates[name]), "all": rates[name], "whole_s": whole[name]}
            for name in WAYS
        },
    }
    options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    plot(options.plot, figures)
    print(json.dumps({name: figures[name] for name in ("machine", "versions", "seed", "same_bytes")}))


if __name__ == "__main__":
    main()
