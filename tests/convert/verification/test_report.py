"""How a verification is told: table, JSON, picture and model card."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import ModelCard
from matplotlib import image

from genrec_edge.convert.pipeline.card import model_card
from genrec_edge.convert.verification import plot
from genrec_edge.convert.verification.logit_divergence import LogitAgreement
from genrec_edge.convert.verification.recommendations import HitRate
from genrec_edge.convert.verification.report import COLUMNS, findings, megabytes, rows, write_report
from genrec_edge.convert.verification.results import CheckpointCheck, FileFigures, TokenizerCheck, Verification

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.slow

SHA = "ab" * 32


def figures(file_type: str, n_bytes: int, kl: float, overlap: float, request_s: float) -> FileFigures:
    return FileFigures(
        name=f"films-{file_type}.gguf",
        file_type=file_type,
        n_bytes=n_bytes,
        bits_per_weight=n_bytes * 8 / 134.5e6,
        same_tokenizer=True,
        agreement=LogitAgreement(2000, 0, kl, 20 * kl, 0.9512, 1.5),
        overlap=overlap,
        exact_share=1.0,
        request_s=request_s,
        prompt_tokens_per_s=100.0,
        hits=HitRate(50, 0.24, 0.1),
    )


@pytest.fixture
def verification() -> Verification:
    reference = replace(figures("F16", 270_900_000, 0, 1, 2.0), agreement=None, overlap=None)
    return Verification(
        catalog="films | shown",
        n_items=17_472,
        seed=7,
        n_positions=2000,
        n_histories=50,
        n_unresolved=0,
        tokenizer=TokenizerCheck("passed", n_titles=500),
        checkpoint=CheckpointCheck("skipped", "torch is not installed"),
        files=(
            reference,
            figures("Q8_0", 144_800_000, 1.24e-4, 0.984, 1.0),
            figures("Q4_0", 91_700_000, 0.1234, 0.71, 1.6),
        ),
    )


def test_a_row_for_each_file(verification: Verification) -> None:
    table = rows(verification)
    assert [len(row) for row in table] == [len(COLUMNS)] * 3
    assert table[0] == ("F16", "271 MB", "16.11", "-", "-", "-", "-", "0.2400", "1.00x")
    assert table[1] == ("Q8_0", "145 MB", "8.61", "0.00012", "0.0025", "95.1%", "98.4%", "0.2400", "2.00x")
    assert table[2] == ("Q4_0", "91.7 MB", "5.45", "0.123", "2.468", "95.1%", "71.0%", "0.2400", "1.25x")


def test_what_was_not_measured_is_a_dash(verification: Verification) -> None:
    empty = FileFigures("x.gguf", "Q2_K", 1_234_567, 2.5, same_tokenizer=False)
    found = replace(verification, files=(verification.files[0], empty))
    assert rows(found)[1] == ("Q2_K", "1.23 MB", "2.50", "-", "-", "-", "-", "-", "-")


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0.00 MB"), (98_760, "0.10 MB"), (12_340_000, "12.3 MB"), (13_476_925_163, "13,477 MB")],
)
def test_sizes_have_three_digits(n_bytes: int, text: str) -> None:
    assert megabytes(n_bytes) == text


def test_what_was_skipped_is_said(verification: Verification) -> None:
    assert list(findings(verification)) == [
        "Token ids of llama.cpp and of transformers: the same for 500 of 500 titles.",
        "The logits could not be compared with transformers: torch is not installed.",
    ]
    other = replace(
        verification,
        tokenizer=TokenizerCheck("skipped", "there is none"),
        checkpoint=CheckpointCheck("passed", agreement=LogitAgreement(2000, 0, 1e-6, 1e-4, 0.9995, 0.0123)),
        files=(verification.files[0], replace(verification.files[1], exact_share=0.96)),
    )
    assert list(findings(other)) == [
        "The token ids could not be compared with transformers: there is none.",
        (
            "Logits of F16 and of transformers in float32: largest difference 0.012, mean KL 1e-06 nats, "
            "top-1 agreement 99.9% at 2,000 positions."
        ),
        "films-Q8_0.gguf: 96.0% of its results are exact.",
    ]


def test_the_report_holds_everything(verification: Verification, tmp_path: Path) -> None:
    write_report(tmp_path / "report.json", verification, {"base": "SmolLM2 é", "seconds": 1.5})
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["schema"] == "genrec-edge/conversion-report@1"
    assert document["conversion"] == {"base": "SmolLM2 é", "seconds": 1.5}
    found = document["verification"]
    assert found["files"][2]["agreement"]["mean_kl"] == 0.1234
    assert [f["speed_ratio"] for f in found["files"]] == [1, 2, 1.25]
    assert found["checkpoint"] == {"status": "skipped", "reason": "torch is not installed", "agreement": None}
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_a_figure_that_is_no_number_is_not_written_as_json(verification: Verification, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path / "report.json", verification, {"seconds": float("nan")})
    assert list(tmp_path.iterdir()) == []


def bar_lengths(picture: Path) -> list[int]:
    """Return the longest run of the quants' colour for each group of picture rows that has some."""
    pixels = (image.imread(picture)[:, :, :3] * 255).round().astype(int)
    colour = np.array([int(plot._QUANT[i : i + 2], 16) for i in (1, 3, 5)])
    match = (np.abs(pixels - colour) < 3).all(axis=2)
    first_panel = match[:, : match.shape[1] * 28 // 100].sum(axis=1)
    groups = np.split(first_panel, np.flatnonzero(np.diff((first_panel > 20).astype(int))) + 1)
    return [int(group.max()) for group in groups if group.max() > 20]


def test_the_picture_has_a_bar_for_each_quant(verification: Verification, tmp_path: Path) -> None:
    plot.draw(tmp_path / "report.png", verification, name="films")
    lengths = bar_lengths(tmp_path / "report.png")
    assert len(lengths) == 2  # the reference has another colour
    assert lengths[1] / lengths[0] == pytest.approx(91.7 / 144.8, abs=0.03)
    assert [p.name for p in tmp_path.iterdir()] == ["report.png"]


def test_a_picture_of_figures_that_are_missing_or_zero(verification: Verification, tmp_path: Path) -> None:
    empty = FileFigures("x.gguf", "Q2_K", 1_234_567, 2.5, same_tokenizer=False)
    zero = replace(figures("F32", 1_000, 0.0, 0.0, 1.0), hits=None)
    for files in ((empty,), (verification.files[0],), (verification.files[0], empty, zero)):
        plot.draw(tmp_path / "report.png", replace(verification, files=files), name="films")
        assert image.imread(tmp_path / "report.png").shape[1] == 1650


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


SECTIONS = (
    "How to run",
    "Evaluation",
    "Training data",
    "Intended use",
    "Limits",
    "Files",
    "Licence",
)


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
