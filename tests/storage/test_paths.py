"""Where files are kept: what each variable of the environment moves."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import UsageError
from genrec_edge.storage import paths
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PARTS: dict[str, tuple[Callable[[], Path], str]] = {
    "GENREC_EDGE_MODELS": (paths.models_path, "models"),
    "GENREC_EDGE_CATALOGS": (paths.catalogs_path, "catalogs"),
    "GENREC_EDGE_DATASETS": (paths.datasets_path, "datasets"),
    "GENREC_EDGE_PROFILES": (paths.profiles_path, "profiles.db"),
    "GENREC_EDGE_CACHE": (paths.cache_path, "cache"),
}


@pytest.mark.parametrize("variable", PARTS)
def test_home_moves_everything_and_a_variable_of_its_own_one_part(
    variable: str, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path_of, below_home = PARTS[variable]
    assert path_of() == own_home / below_home
    monkeypatch.setenv(variable, str(tmp_path / "other"))
    assert path_of() == tmp_path / "other"
    monkeypatch.delenv("GENREC_EDGE_HOME")
    assert path_of() == tmp_path / "other"
    monkeypatch.delenv(variable)
    assert not path_of().is_relative_to(tmp_path)


@pytest.mark.parametrize("variable", PARTS)
def test_a_home_that_there_is_not_is_named(variable: str, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path_of, _ = PARTS[variable]
    for name in ("GENREC_EDGE_HOME", variable):
        monkeypatch.setenv(name, "~nobody-at-all/x")
        with pytest.raises(UsageError, match=f"{name} is '~nobody-at-all/x', and there is no such home"):
            path_of()


def test_a_user_without_a_home_is_told_what_to_set() -> None:
    """As in a container whose user has no entry: asked in a process of its own, whose user has no name."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root may become a user without a name")
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); from genrec_edge.storage import paths; os.setuid(54321)\n"
        "for path_of in (paths.models_path, paths.cache_path):\n"
        "    try: print(path_of())\n"
        "    except Exception as e: print(type(e).__name__, e.message, e.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True)
    expected = "UsageError there is no home to keep files in: HOME is not set"
    assert [line[: len(expected)] for line in done.stdout.splitlines()] == [expected, expected]


def test_prompts_are_in_the_cache(own_home: Path) -> None:
    assert paths.prompts_path() == own_home / "cache" / "prompts"


@pytest.mark.parametrize(("value", "is_offline", "keeps"), [("", False, True), ("0", False, False), ("1", True, True)])
def test_switches(value: str, is_offline: bool, keeps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENREC_EDGE_OFFLINE", value)
    monkeypatch.setenv("GENREC_EDGE_KEEP_PROMPTS", value)
    assert paths.offline() == is_offline
    assert paths.keeps_prompts() == keeps
