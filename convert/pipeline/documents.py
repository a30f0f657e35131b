"""Writes the documents of a conversion: report and picture, model card, and, last, the manifest."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from genrec_edge._version import __version__
from genrec_edge.convert.checkpoint.layers import format_layers
from genrec_edge.convert.pipeline.card import model_card
from genrec_edge.convert.pipeline.naming import base_name
from genrec_edge.convert.pipeline.training_record import training_record
from genrec_edge.convert.verification.report import write_report
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genrec_edge.convert.pipeline.plan import PreparedConversion
    from genrec_edge.convert.pipeline.steps import ConversionRun
    from genrec_edge.convert.quantization.quantize import QuantReport
    from genrec_edge.convert.verification.results import Verification

MANIFEST_NAME = "manifest.json"
SCHEMA = "genrec-edge/conversion@1"
_CARD_NAME = "README.md"
_REPORT_NAME = "report.json"
_PLOT_NAME = "report.png"


def make_manifest(run: ConversionRun, reports: Mapping[str, QuantReport], job_digest: str) -> dict[str, Any]:
    """Return the manifest: inputs and outputs with their hashes. The same job gives the same bytes: it has no times."""
    prepared = run.prepared
    run.on_event("hashing", 0, 0)
    return {
        "schema": SCHEMA,
        "job": job_digest,
        "tool_version": __version__,
        "name": prepared.job.name,
        "license": prepared.job.licence,
        "base": {path.name: run.sha256(path) for path in prepared.checkpoint.files},
        "layers": format_layers(prepared.checkpoint.config.layers),
        "adapters": [
            {"name": a.path.resolve().name, "sha256": a.sha256, "weight": a.weight} for a in prepared.adapters
        ],
        "notes": list(prepared.plan.notes),
        "files": [
            {
                "file": run.path(quant).name,
                "sha256": run.sha256(run.path(quant)),
                **asdict(report),
                "fallbacks": report.summary,
            }
            for quant, report in reports.items()
        ],
    }


def write_documents(run: ConversionRun, verification: Verification | None, manifest: Mapping[str, Any]) -> set[str]:
    """Write all documents into the folder of the run, the manifest last, and return their names."""
    names = {MANIFEST_NAME, _CARD_NAME}
    if verification is not None:
        from genrec_edge.convert.verification.plot import draw  # noqa: PLC0415 - matplotlib takes a second to load

        write_report(run.folder / _REPORT_NAME, verification, manifest)
        draw(run.folder / _PLOT_NAME, verification, name=run.job.name)
        names |= {_REPORT_NAME, _PLOT_NAME}
    with atomic_write(run.folder / _CARD_NAME) as file:
        file.write(_card(run.prepared, verification, manifest).encode(errors="replace"))
    with atomic_write(run.folder / MANIFEST_NAME) as file:
        file.write(json.dumps(manifest, indent=2).encode() + b"\n")  # ASCII: a file name may not be UTF-8
    return names


def _card(prepared: PreparedConversion, verification: Verification | None, manifest: Mapping[str, Any]) -> str:
    record = training_record(prepared.checkpoint, prepared.adapters)
    config = prepared.checkpoint.config
    layers = f"{manifest['layers']} of {config.n_original_layers}"
    return model_card(
        name=prepared.job.name,
        licence=prepared.job.licence,
        base_model=base_name(prepared.job.base),
        files={entry["file"]: entry["sha256"] for entry in manifest["files"]},
        verification=verification,
        adapters=[adapter["name"] for adapter in manifest["adapters"]],
        layers=layers if config.n_layers < config.n_original_layers else "",
        datasets=[str(record["data"])] if "data" in record else [],
        training={key: value for key, value in record.items() if key != "data"},
    )
