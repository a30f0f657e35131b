"""The model card: metadata as the Hub reads it, and text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import ModelCard

from genrec_edge.convert.pipeline.card import model_card
from genrec_edge.convert.verification.report import rows

if TYPE_CHECKING:
    from typing import Any

    from genrec_edge.convert.verification.results import Verification

pytestmark = pytest.mark.slow

SHA = "ab" * 32


def made_card(verification: Verification | None, **changed: Any) -> str:
    arguments: dict[str, Any] = {
        "name": "films",
        "licence": "Apache-2.0",
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "files": {"films-F16.gguf": SHA, "films-Q8_0.gguf": SHA[::-1]},
        "verification": verification,
    }
    text: str = model_card(**{**arguments, **changed})
    return text


def test_the_hub_reads_the_metadata(verification: Verification) -> None:
    read: Any = ModelCard(made_card(verification, datasets=["owner/ratings", "a file of mine"])).data
    data = read.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert data["base_model_relation"] == "quantized"
    assert data["library_name"] == "genrec-edge"
    assert "gguf" in data["tags"]
    assert data["datasets"] == ["owner/ratings"]
    assert data["quantized_by"].startswith("genrec-edge ")


def test_a_licence_the_hub_does_not_list_has_name_and_link(verification: Verification) -> None:
    data = metadata(made_card(verification, licence="LicenseRef-Mine", licence_link="https://example.org/licence"))
    assert (data["license"], data["license_name"], data["license_link"]) == (
        "other",
        "LicenseRef-Mine",
        "https://example.org/licence",
    )


def test_what_is_no_id_of_the_hub_is_not_in_the_metadata(verification: Verification) -> None:
    text = made_card(verification, base_model="/home/me/my model")
    assert not {"base_model", "base_model_relation", "datasets"} & metadata(text).keys()
    assert "films is /home/me/my model" in text


def test_names_cannot_break_out_of_the_metadata_or_the_table(verification: Verification) -> None:
    evil = 'x"\n---\n# | <b>owned</b> `'
    text = made_card(verification, licence=evil, base_model=evil, adapters=[evil], training={evil: evil})
    assert metadata(text)["license_name"] == evil
    body = text.split("\n---\n", 1)[1]
    assert "\n# |" not in body
    assert "<b>" not in body.replace("\\<b", "")
    assert "films \\| shown" in body


SECTIONS = (
    "How to run",
    "Evaluation",
    "Training data",
    "Intended use",
    "Limits",
    "Files",
    "Licence",
)


def test_the_card_says_what_it_is_how_good_and_which_files(verification: Verification) -> None:
    text = made_card(verification, adapters=["mine"], layers="0-7 of 30", training={"seed": 7})
    assert "with the LoRA adapter mine merged into it" in text
    assert "cut to its layers 0-7 of 30" in text
    assert "genrec-edge recommend --model films" in text
    for row in rows(verification):
        assert f"| {' | '.join(row)} |" in text
    assert f"| films-Q8_0.gguf | 145 MB | `{SHA[::-1]}` |" in text
    assert "torch is not installed" in text
    assert "- seed: 7" in text
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# films", *(f"## {h}" for h in SECTIONS)]


def test_a_card_without_figures_says_so() -> None:
    text = made_card(None)
    assert "The files were not verified." in text
    assert "report.png" not in text
    assert f"| films-F16.gguf | - | `{SHA}` |" in text


def test_the_commands_of_the_card_exist(verification: Verification) -> None:
    from typer.testing import CliRunner

    from genrec_edge.cli import app

    found = CliRunner().invoke(app, ["recommend", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert found.exit_code == 0
    for option in ("--model", "-H"):
        assert option in made_card(verification)
        assert option in found.output


def metadata(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text.split("\n---\n", 1)[0].removeprefix("---\n"))
    assert isinstance(found, dict)
    return found
