"""Recipes: the files that come along say all there is, and what makes no sense is refused in one line."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.convert.training.recipe import Recipe
from genrec_edge.convert.training.recipe_reader import find_recipe, read_recipe
from tests.support.folders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MODELS = ROOT / "models" / "recipes"
FILES = sorted(MODELS.glob("*.toml"))


def keys(document: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the dotted names of all values of a TOML document; `forms` counts as one."""
    found = set()
    for key, value in document.items():
        is_table = isinstance(value, dict) and key != "forms"
        found |= keys(value, f"{key}.") if is_table else {f"{prefix}{key}"}
    return found


def every_key(recipe: Any, prefix: str = "") -> set[str]:
    found = set()
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        found |= every_key(value, f"{field.name}.") if is_dataclass(value) else {f"{prefix}{field.name}"}
    return found


def test_the_files_are_those_that_are_documented() -> None:
    names = [path.name for path in FILES]
    assert names == [
        "genrec-films.toml",
        "genrec.toml",
        "llama-7b-24gb.toml",
        "llama-7b-multi-gpu.toml",
        "smollm2-135m-cpu.toml",
        "smollm2-135m-forms.toml",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_recipe_that_comes_along_is_one(path: Path) -> None:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    assert keys(document) <= every_key(Recipe())
    recipe = read_recipe(path)
    assert recipe == find_recipe(None, path.stem)
    written = asdict(recipe)
    for key, value in document.items():  # what the file says is what is done
        assert isinstance(value, dict) or written[key] == value
        if isinstance(value, dict):
            assert {k: list(v) if isinstance(v, tuple) else v for k, v in written[key].items()}.items() >= value.items()


def test_the_default_recipe_names_and_explains_every_key() -> None:
    text = (MODELS / "smollm2-135m-cpu.toml").read_text(encoding="utf-8")
    assert keys(tomllib.loads(text)) == every_key(Recipe())
    assert find_recipe(None, None) == read_recipe(MODELS / "smollm2-135m-cpu.toml")


def test_the_paper_is_followed() -> None:
    """Source: GenRec, arXiv 2307.00457, and its code."""
    for name in ("genrec", "llama-7b-24gb", "llama-7b-multi-gpu"):
        recipe = find_recipe(None, name)
        assert (recipe.lora.r, recipe.lora.alpha, recipe.lora.dropout) == (8, 16, 0.05)
        assert recipe.lora.targets == ("q_proj", "v_proj")
        assert (recipe.optimizer.lr, recipe.optimizer.batch, recipe.optimizer.micro_batch) == (3e-4, 128, 4)
    genrec = find_recipe(None, "genrec")
    assert (genrec.data.targets, genrec.objective.kind, genrec.optimizer.warmup) == ("last", "vocabulary", 100)
