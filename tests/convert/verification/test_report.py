"""A verification as a table, as sentences and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.verification.logit_divergence import LogitAgreement
from genrec_edge.convert.verification.report import COLUMNS, findings, megabytes, rows, write_report
from genrec_edge.convert.verification.results import CheckpointCheck, FileFigures, TokenizerCheck, Verification

if TYPE_CHECKING:
    from pathlib import Path


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
