"""Reads recipes: TOML files, and those that come with the package. Unknown keys and wrong values are errors."""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from genrec_edge.convert.training.recipe import Recipe
from genrec_edge.convert.training.recipe_checks import find_faults
from genrec_edge.errors import UsageError, several
from genrec_edge.storage.files import path_errors

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_RECIPE = "smollm2-135m-cpu"
_MAX_BYTES = 1 << 16
_MAX_SHOWN = 60
"""Characters of a value shown in a message."""
_MAX_FAULTS = 20
_MAX_INT = 1 << 62


def find_recipe(config: Path | None, recipe: str | None) -> Recipe:
    """Return the recipe in the file `config`, the one called `recipe` that comes with the package, or the default.

    Raises:
        UsageError: both are given, there is no such recipe, or it is not valid; see `read_recipe`.
    """
    if config is not None and recipe is not None:
        raise UsageError("`config` and `recipe` cannot be used together: both name a recipe", hint="give only one")
    if config is not None:
        return read_recipe(config)
    folder = resources.files("genrec_edge.models") / "recipes"
    known = sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))
    name = recipe or DEFAULT_RECIPE
    if name not in known:
        hint = f"known: {', '.join(known)}; `config` reads a file of your own"
        raise UsageError(f"there is no recipe {name!r}", hint=hint)
    return recipe_of(tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8")), name)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; keys that are missing keep their defaults.

    Raises:
        UsageError: the file is not TOML, or has unknown keys, wrong types or values out of range; the message lists all
            of them.
    """
    with path_errors(path), path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        hint = "check that this is a recipe; models/recipes/*.toml are examples"
        raise UsageError(f"{path} is larger than {_MAX_BYTES:,} bytes", hint=hint)
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as e:  # not UTF-8, not TOML, integers of thousands of digits; deep nesting
        raise UsageError(f"{path} is not TOML: {e}", hint="models/recipes/*.toml are examples") from e
    return recipe_of(document, str(path))


def recipe_of(document: dict[str, Any], source: str) -> Recipe:
    """Return the recipe that a parsed TOML document describes; `source` names it in messages.

    Raises:
        UsageError: see `read_recipe`.
    """
    faults: list[str] = []
    recipe: Recipe = _section_of(Recipe, document, "", faults)
    if not faults:
        faults = find_faults(recipe)
    if faults:
        message = f"{source}: {several(faults, most=_MAX_FAULTS)}"
        raise UsageError(message, hint="models/recipes/smollm2-135m-cpu.toml explains every key")
    return recipe


def _section_of(kind: type, document: dict[str, Any], prefix: str, faults: list[str]) -> Any:
    """Return a record with the values of a document; those that do not fit are added to `faults`."""
    types = get_type_hints(kind)
    known = {f.name: types[f.name] for f in fields(kind)}
    values = {}
    for key, value in document.items():
        name = f"{prefix}{key}"
        if key not in known:
            faults.append(f"unknown key {name[:_MAX_SHOWN]!r}")
        elif is_dataclass(known[key]):
            if isinstance(value, dict):
                values[key] = _section_of(known[key], value, f"{name}.", faults)
            else:
                faults.append(f"{name} is not a table")
        else:
            converted = _converted(value, known[key])
            if converted is None:
                faults.append(f"{name} = {repr(value)[:_MAX_SHOWN]} is not {_expected(known[key])}")
            else:
                values[key] = converted
    return kind(**values)


def _converted(value: Any, kind: Any) -> Any:
    """Return a TOML value as the type of its field, or None if it does not fit."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else None
    if get_origin(kind) is tuple:
        return tuple(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else None
    if get_origin(kind) is dict:
        is_numbers = isinstance(value, dict) and all(_converted(v, float) is not None for v in value.values())
        return {key: float(v) for key, v in value.items()} if is_numbers else None
    if isinstance(value, int) and abs(value) > _MAX_INT:
        return None
    if kind is float:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return value if type(value) is kind else None


def _expected(kind: Any) -> str:
    """Return the type of a field in words."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    if get_origin(kind) is dict:
        return "a table of numbers"
    return {int: "an integer", float: "a number", bool: "true or false", str: "a string"}.get(kind, "a list of strings")
