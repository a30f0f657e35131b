"""Shared by all benchmarks: a record of machine, versions and arguments, tables, and the files of results."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec_edge.engine.build_info import build_info
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

PACKAGES = ("genrec-edge", "llama-cpp-python", "numpy", "rapidfuzz", "gguf", "torch", "transformers", "peft")
OURS, OTHERS = "#2a6f97", "#9aa5ad"


def setting(*more_packages: str) -> dict[str, Any]:
    """Return machine, versions of installed packages, the build of llama.cpp, and arguments."""
    build = build_info()
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "machine": {
            "cpu": build.cpu,
            "cores": os.cpu_count(),
            "memory_gib": round(int(memory.split()[1]) / (1 << 20), 1),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {name: found for name in (*PACKAGES, *more_packages) if (found := _version(name))},
        "build": asdict(build),
        "arguments": sys.argv[1:],
    }


def print_setting(record: Mapping[str, Any]) -> None:
    """Print machine, versions and arguments."""
    machine = record["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}")
    print(", ".join(f"{name} {found}" for name, found in record["versions"].items()) + f", Python {machine['python']}")
    print("llama.cpp", record["build"]["llama_cpp"], "built for", " ".join(record["build"]["cpu_features"]))
    print("arguments:", " ".join(record["arguments"]) or "none")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text below a header, the first column left-aligned."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *rest]))


def write(folder: Path, name: str, record: Mapping[str, Any], figure: Figure) -> None:
    """Write NAME.json and NAME.png into a folder."""
    with atomic_write(folder / f"{name}.json") as file:
        file.write((json.dumps(record, indent=2) + "\n").encode())
    with atomic_write(folder / f"{name}.png") as file:
        figure.savefig(file, format="png", dpi=150)
    print(f"written: {folder / name}.json, {folder / name}.png")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
