"""Reading recipes: unknown keys, wrong types and files that are not recipes are named in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.training.recipe_reader import find_recipe, read_recipe, recipe_of
from genrec_edge.errors import UsageError
from tests.support.recipes import assert_refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seeds = 1", "unknown key 'seeds'"),
        ("[lora]\nrank = 4", "unknown key 'lora.rank'"),
        ("lora = 4", "lora is not a table"),
        ("seed = 1.5", "seed = 1.5 is not an integer"),
        ("seed = true", "seed = True is not an integer"),
        (f"seed = 1{'0' * 400}", "is not an integer"),
        ("[base]\ngradient_checkpointing = 1", "base.gradient_checkpointing = 1 is not true or false"),
        ('[base]\ndtype = "int8"', "base.dtype = 'int8' is not one of 'float32', 'bfloat16', 'float16'"),
        ('[objective]\nteacher = "prior"', "objective.teacher = 'prior' is not one of 'sequence', 'mixture'"),
        ('[objective]\noffset = "day"', "objective.offset = 'day' is not one of 'none', 'week'"),
        ("[base]\nlayers = [0, 1]", "base.layers = [0, 1] is not a string"),
        ("[lora]\nwhole = [1]", "lora.whole = [1] is not a list of strings"),
        ('[optimizer]\nlr = "fast"', "optimizer.lr = 'fast' is not a number"),
        ("forms = 3", "forms = 3 is not a table of numbers"),
    ],
)
def test_wrong_keys_and_types_are_named(text: str, expected: str, tmp_path: Path) -> None:
    assert_refused(text, expected, tmp_path)


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
    assert "genrec, genrec-films, llama-7b-24gb" in caught.value.hint
    with pytest.raises(UsageError, match="`config` and `recipe` cannot be used together"):
        find_recipe(tmp_path / "a.toml", "genrec")


def test_whole_numbers_do_for_numbers() -> None:
    assert recipe_of({"lora": {"alpha": 16}, "optimizer": {"epochs": 3}}, "it").lora.alpha == 16.0
