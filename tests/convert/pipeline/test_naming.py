"""Names of the GGUF convention, licences, and what a base is called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.convert.pipeline.naming import base_name, check_licence, check_name, file_name, licence_note
from genrec_edge.errors import UsageError
from tests.support.training_records import folder_base

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]

# Source: the pattern that docs/gguf.md of ggml gives for valid names.
CONVENTION = re.compile(
    r"^(?P<BaseName>[A-Za-z0-9\s]*(?:(?:-(?:(?:[A-Za-z\s][A-Za-z0-9\s]*)|(?:[0-9\s]*)))*))"
    r"-(?:(?P<SizeLabel>(?:\d+x)?(?:\d+\.)?\d+[A-Za-z](?:-[A-Za-z]+(\d+\.)?\d+[A-Za-z]+)?)"
    r"(?:-(?P<FineTune>[A-Za-z0-9\s-]+))?)?-(?:(?P<Version>v\d+(?:\.\d+)*))(?:-(?P<Encoding>(?!LoRA|vocab)[\w_]+))?"
    r"(?:-(?P<Type>LoRA|vocab))?(?:-(?P<Shard>\d{5}-of-\d{5}))?\.gguf$"
)


@pytest.mark.parametrize("name", ["films", "my-films-2", "A", "x" * 60])
@pytest.mark.parametrize(
    ("n_params", "label"), [(134_515_008, "135M"), (6_738_415_616, "6.7B"), (18_000, "18K"), (999, "1.0K")]
)
@pytest.mark.parametrize(("encoding", "kind"), [("Q4_K_M", None), ("IQ2_XXS", None), ("F32", "LoRA")])
def test_file_names_follow_the_convention(name: str, n_params: int, label: str, encoding: str, kind: str) -> None:
    check_name(name)
    match = CONVENTION.fullmatch(file_name(name, n_params, encoding, kind))
    assert match is not None
    found = {key: match[key] for key in ("BaseName", "SizeLabel", "Version", "Encoding", "Type")}
    assert found == {"BaseName": name, "SizeLabel": label, "Version": "v1.0", "Encoding": encoding, "Type": kind}


@pytest.mark.parametrize(
    "name", ["", "1a", "a b", "-a", "a-", "a--b", "a.b", "a/b", "..", "a_b", "\u00e4", "x" * 61, "a\n", "a\0"]
)
def test_names_that_no_file_could_have_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="`name`") as caught:
        check_name(name)
    assert "letters" in caught.value.hint


@pytest.mark.parametrize(
    "licence",
    [
        "Apache-2.0",
        "MIT",
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "LicenseRef-llama2",
        "(MIT OR Apache-2.0)",
        "(MIT AND (Apache-2.0 OR BSD-3-Clause)) OR CC0-1.0",
        "GPL-2.0+",
    ],
)
def test_licences_that_are_spdx_expressions_pass(licence: str, tmp_path: Path) -> None:
    assert check_licence(licence, tmp_path) == licence


@pytest.mark.parametrize(
    "licence",
    [
        "",
        "x",
        "Apache",
        "MIT AND nothing-at-all",
        "MIT OR " * 200 + "MIT",
        "Apache 2.0",
        "MIT OR",
        "OR MIT",
        "(MIT",
        "MIT)",
        "MIT) OR (MIT",
        "MIT, Apache-2.0",
        "MIT or Apache-2.0",
        "\u00a9",
        "MIT\n",
        " MIT",
    ],
)
def test_other_licences_are_refused_with_an_example(licence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SPDX") as caught:
        check_licence(licence, tmp_path)
    assert "LicenseRef-llama2" in caught.value.hint


def test_a_licence_is_spelled_as_spdx_spells_it(tmp_path: Path) -> None:
    assert check_licence("apache-2.0 AND mit", tmp_path) == "Apache-2.0 AND MIT"


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("---\nlicense: cc-by-nc-4.0\n---\n", "says that its licence is cc-by-nc-4.0"),
        ("---\nlicense: other\nlicense_name: llama-research\n---\n", "says that its licence is other llama-research"),
        ("# Films\n\nThe weights are for research purposes only.\n", "for research purposes only"),
        ("It must not be used\ncommercially.", "not be used commercially"),
        ("---\nlicense: apache-2.0\n---\nTrained in our research group.", ""),
        ("", ""),
    ],
)
def test_an_adapter_for_research_alone_is_noted_under_a_free_licence(card: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card)
    note = licence_note("Apache-2.0", tmp_path)
    assert found in note
    assert bool(note) == bool(found)
    assert ("the result is to be under Apache-2.0" in note) == bool(found)
    assert licence_note("CC-BY-NC-4.0", tmp_path) == ""
    assert licence_note("Apache-2.0 AND LicenseRef-GroupLens", tmp_path) == ""


def test_the_licence_of_the_data_is_noted_too(tmp_path: Path) -> None:
    assert licence_note("MIT", tmp_path) == ""
    (tmp_path / "genrec_edge.json").write_text('{"data_licence": "LicenseRef-GroupLens"}')
    assert "was trained on data under LicenseRef-GroupLens" in licence_note("MIT", tmp_path)


def test_without_a_licence_the_hint_is_what_the_base_claims(tiny_gguf: Write, tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "base.gguf", keys={"general.license": "apache-2.0"})
    with pytest.raises(UsageError, match="needs a licence") as caught:
        check_licence(None, path)
    assert caught.value.hint == "the base says apache-2.0"
    silent = tiny_gguf(tmp_path / "silent.gguf", keys={"general.license": 7})
    for base in (silent, tmp_path, tmp_path / "no-such"):
        with pytest.raises(UsageError) as caught:
            check_licence(None, base)
        assert "for example" in caught.value.hint


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
        ("my-model", "my-model"),
        ("/home/somebody/secret/llama", "folder"),
        ("C:\\Users\\somebody\\llama", "folder"),
        ("./llama", "folder"),
        ("a/b/c", "folder"),
        ("\ud800", "folder"),
        ("", "folder"),
        (7, "folder"),
        (None, "folder"),
    ],
)
def test_a_folder_is_called_what_the_hub_calls_it_or_what_it_is_called(
    named: object, name: str, tmp_path: Path
) -> None:
    assert base_name(folder_base(tmp_path / "folder", {"_name_or_path": named})) == name


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"general.name": "One", "general.basename": "two"}, "One"),
        ({"general.name": None, "general.basename": "two"}, "two"),
        ({"general.name": 3}, "file-Q8_0"),
        ({}, "file-Q8_0"),
        ({"general.name": "a\x1b[31m\nb"}, "a[31m b"),
    ],
)
def test_a_gguf_is_called_what_it_calls_itself(
    keys: dict[str, Any], name: str, tiny_gguf: Write, tmp_path: Path
) -> None:
    assert base_name(tiny_gguf(tmp_path / "file-Q8_0.gguf", keys=keys)) == name
