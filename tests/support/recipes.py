"""Recipes that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.training.recipe_reader import read_recipe
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def assert_refused(text: str, expected: str, tmp_path: Path) -> None:
    """Assert that reading a recipe fails with one short line that names its file and holds `expected`."""
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert expected in caught.value.message
    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300 + len(str(path))
