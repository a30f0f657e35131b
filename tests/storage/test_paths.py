"""Where files are kept: what each variable of the environment moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.storage import paths

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


def test_prompts_are_in_the_cache(own_home: Path) -> None:
    assert paths.prompts_path() == own_home / "cache" / "prompts"


@pytest.mark.parametrize(("value", "is_offline", "keeps"), [("", False, True), ("0", False, False), ("1", True, True)])
def test_switches(value: str, is_offline: bool, keeps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENREC_EDGE_OFFLINE", value)
    monkeypatch.setenv("GENREC_EDGE_KEEP_PROMPTS", value)
    assert paths.offline() == is_offline
    assert paths.keeps_prompts() == keeps
