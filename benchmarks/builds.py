"""The same evaluation with several builds of llama.cpp: how far an answer depends on the build and its CPU features.

    pip install --no-deps --no-binary llama-cpp-python --target avx llama-cpp-python==0.3.36   # CMAKE_ARGS=…
    python -m benchmarks.builds --data ml-100k --build avx=avx --build "no AVX2=plain" --model genrec-films --out builds

A build is a folder with another `llama_cpp`, which a process of its own finds before the installed one. All rank all
items of a data set for the same users, at most 35 titles of each; every later build is compared with the first.
docs/quality.md has the CMake options.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.setting import OTHERS, OURS, print_setting, print_table, setting, write
from genrec_edge.cli.output import progress
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.splits import split_of
from genrec_edge.engine.build_info import build_info
from genrec_edge.evaluation import metrics
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.hub.store import ModelStore, resolve_model

K, MAX_HISTORY = 10, 35


def main() -> None:
    """Rank with each build and each model, compare, and print and write a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="ml-100k", help="a data set by its name, or its folder")
    parser.add_argument("--users", type=int, default=None, help="a sample of the users; all")
    parser.add_argument("--model", action="append", help="a model of the store or a .gguf file; repeat it")
    parser.add_argument("--build", action="append", default=[], metavar="NAME=FOLDER", help="another build; repeat it")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for builds.json and builds.png")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        _answer(options.data, options.users, options.model[0])
        return
    record = setting()
    print_setting(record)
    builds = {"installed": None} | {name: folder for name, _, folder in (text.partition("=") for text in options.build)}
    rows: list[dict[str, Any]] = []
    for model in options.model or ["genrec-films"]:
        first: list[dict[str, Any]] | None = None
        for build, folder in builds.items():
            answers = _run(build, folder, [f"--data={options.data}", f"--model={model}"], options.users)
            first = first or answers
            rows.append({"model": Path(model).stem, "build": build, **compared(answers, first)})
    header = ("model, build", "HR@10", "NDCG@10", "median difference", "largest", "another ten", "another first")
    print_table(
        header,
        [
            [
                f"{row['model']}, {row['build']}",
                f"{row['hr']:.4f}",
                f"{row['ndcg']:.4f}",
                f"{row['median_difference']:.2g}",
                f"{row['largest_difference']:.2g}",
                f"{row['other_items']} of {row['users']}",
                str(row["other_first"]),
            ]
            for row in rows
        ],
    )
    write(options.out, "builds", record | {"rows": rows}, _plot(rows))


def compared(answers: list[dict[str, Any]], first: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the quality of a build's answers, and how they differ from those of the first build.

    Differences of scores are those of items that both have among their ten, in nats.
    """
    ranks = np.array([_rank(answer) for answer in answers])
    differences = [
        abs(score - dict(zip(other["items"], other["scores"], strict=True))[item])
        for answer, other in zip(answers, first, strict=True)
        for item, score in zip(answer["items"], answer["scores"], strict=True)
        if item in other["items"]
    ]
    return {
        "users": len(answers),
        "hr": float(metrics.hit(ranks, K).mean()),
        "ndcg": float(metrics.ndcg(ranks, K).mean()),
        "median_difference": float(np.median(differences)),
        "largest_difference": float(max(differences)),
        "other_items": sum(set(a["items"]) != set(b["items"]) for a, b in zip(answers, first, strict=True)),
        "other_first": sum(a["items"][0] != b["items"][0] for a, b in zip(answers, first, strict=True)),
    }


def _rank(answer: dict[str, Any]) -> float:
    """Return the rank of the target, from 1; inf if it is not among the items."""
    return answer["items"].index(answer["target"]) + 1 if answer["target"] in answer["items"] else np.inf


def _run(build: str, folder: str | None, arguments: list[str], users: int | None) -> list[dict[str, Any]]:
    """Return the answers of a process that finds the build in `folder` first."""
    search_path = [str(Path(folder).resolve())] if folder else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*search_path, str(Path.cwd())])}
    command = [sys.executable, "-m", "benchmarks.builds", "--answer", *arguments]
    command += [] if users is None else [f"--users={users}"]
    answers = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        loaded = json.loads(process.stdout.readline())
        if folder and not Path(loaded["library"]).is_relative_to(Path(folder).resolve()):
            raise SystemExit(f"the process of {build} loaded {loaded['library']}, not the build in {folder}")
        print(f"{build}: {loaded['build']}")
        with progress(build, loaded["users"]) as advance:
            for line in process.stdout:
                answers.append(json.loads(line))
                advance(len(answers))
    if process.returncode != 0 or len(answers) != loaded["users"]:
        raise SystemExit(f"{build} ended with {process.returncode} after {len(answers)} users")
    return answers


def _answer(data: str, users: int | None, model: str) -> None:
    """Print a line about this process's llama.cpp, then the answer for each user."""
    import llama_cpp  # the build that this process finds

    dataset = load(data)
    split = split_of(dataset, "leave-one-out", "file")
    cases = cases_of(split, users=users)
    loaded = {
        "library": llama_cpp.__file__,
        "build": str(build_info()),
        "users": len(cases.histories),
    }
    print(json.dumps(loaded), flush=True)
    with LlmRanker(resolve_model(model, ModelStore()), dataset, max_history=MAX_HISTORY) as ranker:
        for target, ranking in zip(cases.targets.tolist(), ranker.rank_many(cases.histories, K), strict=True):
            answer = {"target": target, "items": ranking.items.tolist(), "scores": ranking.scores.tolist()}
            print(json.dumps(answer), flush=True)


def _plot(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(7, 1 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    names = [f"{row['model']}, {row['build']}" for row in rows]
    shares = [row["other_items"] / row["users"] for row in rows]
    axes.barh(names, shares, color=[OURS if row["build"] == "installed" else OTHERS for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("share of users with another set of ten than with the installed build")
    axes.set_xlim(0, 1)
    return figure


if __name__ == "__main__":
    main()
