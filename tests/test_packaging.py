"""What is installed is what is in the tree: packages are listed by hand, and a forgotten one only fails for users."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge import __version__
from genrec_edge.cli import main
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = {"genrec_edge": "genrec_edge", "convert": "genrec_edge/convert", "models": "genrec_edge/models"}
SOURCES = ROOT / "models" / "sources"  # leads under a share-alike licence are among them
MIN_SETUPTOOLS = 77
MAX_BYTES = 48 * 2**20


def expected() -> set[str]:
    """Return where every file of the three source folders has to be in the wheel: all but the raw data of the films."""
    files = set()
    for folder, target in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and SOURCES not in path.parents:
                files.add(f"{target}/{path.relative_to(ROOT / folder).as_posix()}")
    return files


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_tree_has_what_must_not_be_missing() -> None:
    assert {
        "genrec_edge/py.typed",
        "genrec_edge/data/films.jsonl.xz",
        "genrec_edge/data/LICENSE-films.txt",
        "genrec_edge/data/movietweetings/LICENSE.txt",
        "genrec_edge/data/movietweetings/ratings.dat.xz",
        "genrec_edge/cli/recommend.py",
        "genrec_edge/convert/__init__.py",
        "genrec_edge/models/__init__.py",
        "genrec_edge/models/registry.json",
    } <= expected()


def folder_of(package: str, package_dir: dict[str, str]) -> str:
    """Return the folder of a package, as setuptools finds it: by the nearest package that has one of its own."""
    parts = package.split(".")
    for n in range(len(parts), 0, -1):
        if (folder := package_dir.get(".".join(parts[:n]))) is not None:
            return "/".join([folder, *parts[n:]])
    return "/".join(parts)


def test_the_settings_name_every_file_of_the_tree(settings: dict[str, Any]) -> None:
    tool = settings["tool"]["setuptools"]
    packaged = set()
    for package in tool["packages"]:
        folder = ROOT / folder_of(package, tool["package-dir"])
        for pattern in ("*.py", *tool["package-data"].get(package, [])):
            packaged |= {
                f"{package.replace('.', '/')}/{p.relative_to(folder).as_posix()}" for p in folder.glob(pattern)
            }
    assert packaged == expected()


def test_no_pattern_packs_the_raw_data_of_the_films(settings: dict[str, Any]) -> None:
    assert (SOURCES / "wikipedia" / "american-films.jsonl.xz").is_file()
    tool = settings["tool"]["setuptools"]
    for package, patterns in tool["package-data"].items():
        folder = ROOT / folder_of(package, tool["package-dir"])
        assert not [path for pattern in patterns for path in folder.glob(pattern) if SOURCES in path.parents]
    assert not any("sources" in package for package in tool["packages"])


def test_every_pattern_of_the_settings_matches_something(settings: dict[str, Any]) -> None:
    tool = settings["tool"]["setuptools"]
    for package, patterns in tool["package-data"].items():
        folder = ROOT / folder_of(package, tool["package-dir"])
        assert all(any(folder.glob(pattern)) for pattern in patterns)
    assert all((ROOT / name).is_file() for name in settings["project"]["license-files"])


def test_every_licence_of_the_tree_is_named(settings: dict[str, Any]) -> None:
    project = settings["project"]
    shipped = {path for path in expected() if path.rpartition("/")[2].startswith("LICENSE")}
    assert shipped <= set(project["license-files"])
    named = {"Apache-2.0", "CC0-1.0", "MIT", "CC-BY-4.0", "LicenseRef-GroupLens"}
    assert set(project["license"].split(" AND ")) == named


def test_the_notice_names_every_file_with_data_and_whose_it_is(settings: dict[str, Any]) -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert "NOTICE" in settings["project"]["license-files"]
    data = [*(ROOT / "genrec_edge" / "data").rglob("*.xz"), *(ROOT / "models").glob("*/*.safetensors")]
    assert len(data) >= 4
    for path in data:
        name = path.relative_to(ROOT).as_posix()
        assert name in notice or f"{path.parent.relative_to(ROOT).as_posix()}/:" in notice, name
    for owner in ("Wikidata", "Simon Dooms", "Raymond Li", "Peter Rust", "Hugging Face", "GroupLens", "Zygmunt Zając"):
        assert owner in notice


def test_the_version_is_the_same_everywhere(settings: dict[str, Any]) -> None:
    assert "version" not in settings["project"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "genrec_edge._version.__version__"}
    assert importlib.metadata.version("genrec-edge") == __version__
    assert importlib.metadata.version("genrec-edge") == __version__


def test_the_command_is_the_function_it_names(settings: dict[str, Any]) -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="genrec-edge")
    assert script.value == settings["project"]["scripts"]["genrec-edge"]
    assert script.load() is main


def test_no_heavy_library_is_a_core_dependency(settings: dict[str, Any]) -> None:
    core = " ".join(settings["project"]["dependencies"])
    assert "llama-cpp-python" in core
    assert not any(name in core for name in ("torch", "transformers", "peft", "matplotlib", "pytest"))


@pytest.mark.slow
def test_the_wheel_holds_the_tree_and_nothing_else(settings: dict[str, Any], tmp_path: Path) -> None:
    version = importlib.metadata.version("setuptools")
    if int(version.split(".")[0]) < MIN_SETUPTOOLS:
        pytest.skip(f"setuptools {version} cannot build it; {MIN_SETUPTOOLS} can")
    source = tmp_path / "source"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source],
        check=True,
        capture_output=True,
    )
    (wheel_path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel_path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        licences = {name.partition("/licenses/")[2] for name in wheel.namelist() if "/licenses/" in name}
    assert names == expected()
    assert licences == set(settings["project"]["license-files"])
    assert not any("goodbooks" in name for name in names - {"genrec_edge/datasets/goodbooks.py"})  # share-alike
    assert wheel_path.stat().st_size < MAX_BYTES
