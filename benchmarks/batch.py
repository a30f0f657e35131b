"""Users a second: many at once in one process, and `genrec-edge batch` with its engines and numbers of workers.

    python -m benchmarks.batch --users 200 --out batch

The same users for all: histories of 5 to 30 titles drawn from the shipped catalog. First `recommend_many` against
`recommend` one by one, for 1, 4, 16 and 64 of them. Then jobs: each way runs in processes of its own, all ways in turn,
round after round; the median of the rounds counts. The rate is that of answering: for a job, from its first finished
chunk to its last, so without starting processes and opening models, which `whole_s` has. All ask the model alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.setting import OTHERS, OURS, print_setting, print_table, setting, write
from genrec_edge import Recommender
from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.records import Interaction

CHUNK = 16
WAYS: dict[str, tuple[str, ...]] = {
    "one by one, 2 threads": (),
    "local, 1 worker x 2": ("--workers", "1", "--threads", "2"),
    "local, 1 worker x 1": ("--workers", "1", "--threads", "1"),
    "local, 2 workers x 1": ("--workers", "2", "--threads", "1"),
    "ray, 1 actor x 1": ("--workers", "1", "--threads", "1", "--engine", "ray"),
    "ray, 2 actors x 1": ("--workers", "2", "--threads", "1", "--engine", "ray"),
}
AT_ONCE = (1, 4, 16, 64)
MAIN = "from genrec_edge.cli import main; main()"
ALONE = ("--prior", "none")
ONE_BY_ONE = """
import json, sys, time
from genrec_edge import Interaction, Recommender
users = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
with Recommender.open(n_threads=2, prior_kind="none") as r:
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


def at_once(users_path: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return for each of `AT_ONCE` the users a second, one by one and together, in one process with two threads."""
    users = [json.loads(line) for line in users_path.read_text(encoding="utf-8").splitlines()[: max(AT_ONCE)]]
    histories = [[Interaction(**entry) for entry in user["history"]] for user in users]
    figures = {}
    with Recommender.open(n_threads=2, prior_kind="none") as r:
        r.recommend_many(histories[:4])  # pages the weights in
        for n in AT_ONCE:
            singly, together = [], []
            for _ in range(rounds * max(1, 8 // n)):
                started = time.perf_counter()
                for history in histories[:n]:
                    r.forget()
                    r.recommend(history)
                between = time.perf_counter()
                r.forget()
                r.recommend_many(histories[:n])
                singly.append(between - started)
                together.append(time.perf_counter() - between)
            one, many = statistics.median(singly), statistics.median(together)
            figures[str(n)] = {"one_by_one": n / one, "together": n / many, "ratio": one / many}
    return figures


def one_by_one(users_path: Path) -> float:
    """Return the rate of one process that asks user after user."""
    argv = [sys.executable, "-c", ONE_BY_ONE, str(users_path)]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def job(users_path: Path, options: tuple[str, ...], n_users: int) -> tuple[float, bytes]:
    """Return the rate of a job, and its rows."""
    with tempfile.TemporaryDirectory() as folder:
        out_path = Path(folder) / "rows.jsonl"
        files = (str(users_path), "--out", str(out_path))
        argv = [sys.executable, "-c", MAIN, "batch", *files, "--quiet", *ALONE, *options]
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


def picture(record: dict[str, Any]) -> Figure:
    """Draw a line for users at once and a bar for each way."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    found = record["at_once"]
    for key, colour, label in (("one_by_one", OTHERS, "one by one"), ("together", OURS, "recommend_many")):
        left.plot([int(n) for n in found], [f[key] for f in found.values()], "o-", color=colour, label=label)
    left.set(xscale="log", xlabel="users", ylabel="users a second", ylim=(0, None), xticks=AT_ONCE)
    left.set_xticklabels([str(n) for n in AT_ONCE])
    left.legend(frameon=False)
    names = list(record["ways"])[::-1]
    rates = [record["ways"][name]["users_per_s"] for name in names]
    bars = right.barh(names, rates, color=[OTHERS if name.startswith("one") else OURS for name in names])
    right.bar_label(bars, [f"{rate:.2f}" for rate in rates], padding=3)
    right.set_xlabel("users a second, after the start")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for batch.json and batch.png")
    options = parser.parse_args()
    if options.users < max(AT_ONCE):
        parser.error(f"give at least {max(AT_ONCE)} --users")
    record = setting("ray", "pyarrow")
    print_setting(record)
    with tempfile.TemporaryDirectory() as folder:
        users_path = Path(folder) / "users.jsonl"
        write_users(users_path, options.users, options.seed)
        record["at_once"] = at_once(users_path, options.rounds)
        record |= all_ways(users_path, options.users, options.rounds)
    rows = [
        (n, f"{f['one_by_one']:.2f}", f"{f['together']:.2f}", f"{f['ratio']:.2f}") for n, f in record["at_once"].items()
    ]
    print_table(("users", "one by one, users/s", "together, users/s", "ratio"), rows)
    jobs = [
        (name, f"{f['users_per_s']:.2f}", f"{statistics.median(f['whole_s']):.1f} s")
        for name, f in record["ways"].items()
    ]
    print_table((f"{options.users} users", "users/s", "whole run"), jobs)
    print("all jobs wrote the same bytes" if record["same_bytes"] else "JOBS WROTE DIFFERENT BYTES")
    if options.out is not None:
        write(options.out, "batch", record, picture(record))


def all_ways(users_path: Path, n_users: int, n_rounds: int) -> dict[str, Any]:
    """Return rates and whole times of all ways, and whether their rows are the same."""
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    whole: dict[str, list[float]] = {name: [] for name in WAYS}
    rows: set[bytes] = set()
    for _ in range(n_rounds):
        for name, way in WAYS.items():
            started = time.perf_counter()
            if way:
                rate, written = job(users_path, way, n_users)
                rows.add(written)
            else:
                rate = one_by_one(users_path)
            rates[name].append(rate)
            whole[name].append(time.perf_counter() - started)
    ways = {
        name: {"users_per_s": statistics.median(rates[name]), "all": rates[name], "whole_s": whole[name]}
        for name in WAYS
    }
    return {"same_bytes": len(rows) == 1, "ways": ways}


if __name__ == "__main__":
    main()
