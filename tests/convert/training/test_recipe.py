"""Recipes: the files that come along say all there is, and what makes no sense is refused in one line."""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.convert.training.recipe import Recipe
from genrec_edge.convert.training.recipe_reader import find_recipe, read_recipe, recipe_of
from genrec_edge.errors import UsageError
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
    written = recipe.document()
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds = 1", "unknown key 'seeds'"),
        ("[lora]\nrank = 4", "unknown key 'lora.rank'"),
        ("lora = 4", "lora is not a table"),
        ("seed = 1.5", "seed = 1.5 is not an integer"),
        ("seed = true", "seed = True is not an integer"),
        ("seed = -1", "seed = -1 is not in 0..2.14748e+09"),
        (f"seed = 1{'0' * 400}", "is not an integer"),
        ("[base]\ngradient_checkpointing = 1", "base.gradient_checkpointing = 1 is not true or false"),
        ('[base]\ndtype = "int8"', "base.dtype = 'int8' is not one of 'float32', 'bfloat16', 'float16'"),
        ('[base]\nlayers = "3-1"', "base.layers"),
        ("[base]\nlayers = [0, 1]", "base.layers = [0, 1] is not a string"),
        ("[lora]\nr = 0", "lora.r = 0 is not in 1..1024"),
        ("[lora]\nwhole = [1]", "lora.whole = [1] is not a list of strings"),
        ("[lora]\ntargets = []", "lora.targets is empty"),
        ('[lora]\ntargets = ["q_proj", "lm_head"]', "lora.targets has lm_head; known: q_proj, k_proj"),
        ("[optimizer]\nlr = nan", "optimizer.lr = nan is not in 1e-09..10"),
        ('[optimizer]\nlr = "fast"', "optimizer.lr = 'fast' is not a number"),
        (
            "[optimizer]\nbatch = 7\nmicro_batch = 2",
            "optimizer.batch = 7 is not a multiple of optimizer.micro_batch = 2",
        ),
        ("[optimizer]\nbatch = 2\nmicro_batch = 4", "optimizer.micro_batch = 4 is not in 1..2"),
        ("[data]\nwindow = 1", "data.window = 1 is not in 2..4096"),
        ("[forms]\nhistory = 1\nreverse = 1", "forms has reverse; known: history, taste, search"),
        ("[forms]\nhistory = 0", "forms: the weights must be 0 or more, and at least one above 0"),
        ("[forms]\nhistory = 1\njudge = -1", "forms: the weights must be 0 or more, and at least one above 0"),
        ("[forms]\nhistory = 1\njudge = 1", 'forms other than "history" need prompt = "forms-1"'),
        ("forms = 3", "forms = 3 is not a table of numbers"),
        ('prompt = "genrec-1"', 'prompt = "genrec-1" has one target per sequence: it needs data.targets = "last"'),
        ('[objective]\nkind = "vocabulary"\ndistill = 0.5', 'objective.distill needs objective.kind = "catalog"'),
    ],
)
def test_what_makes_no_sense_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert said in caught.value.message
    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300 + len(str(path))


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        recipe_of({"a": 1, "lora": {"b": 2, "r": "x"}, "data": []}, "it")
    assert caught.value.message == (
        "it: unknown key 'a'; unknown key 'lora.b'; lora.r = 'x' is not an integer; data is not a table"
    )


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"a = ", b"a = " + b"[" * 5000 + b"]" * 5000, b"seed = " + b"9" * 5000, b"#" * (1 << 16 | 1)],
    ids=["no UTF-8", "no value", "nested", "a long number", "too long"],
)
def test_what_is_no_recipe_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        read_recipe(tmp_path / "nowhere.toml")
    with pytest.raises(UsageError, match="there is no recipe 'x'") as caught:
        find_recipe(None, "x")
    assert "genrec, llama-7b-24gb" in caught.value.hint
    with pytest.raises(UsageError, match="`config` and `recipe` cannot be used together"):
        find_recipe(tmp_path / "a.toml", "genrec")


def test_whole_numbers_do_for_numbers() -> None:
    assert recipe_of({"lora": {"alpha": 16}, "optimizer": {"epochs": 3}}, "it").lora.alpha == 16.0
