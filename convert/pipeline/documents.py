"""What lies beside the files of a conversion: report and picture, model card, and the manifest, which comes last."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from genrec_edge._version import __version__
from genrec_edge.convert.checkpoint.layers import format_layers
from genrec_edge.convert.pipeline.card import model_card
from genrec_edge.convert.pipeline.metadata import base_name, training_record
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


def make_manifest(steps: ConversionRun, reports: Mapping[str, QuantReport], job_digest: str) -> dict[str, Any]:
    """Return the manifest: what was made of what, every file with its hash. No times: the same job, the same bytes."""
    prepared = steps.prepared
    steps.on_event("hashing", 0, 0)
    return {
        "schema": SCHEMA,
        "job": job_digest,
        "tool_version": __version__,
        "name": prepared.job.name,
        "license": prepared.job.licence,
        "base": {path.name: steps.sha256(path) for path in prepared.checkpoint.files},
        "layers": format_layers(prepared.checkpoint.config.layers),
        "adapters": [
            {"name": a.path.resolve().name, "sha256": a.sha256, "weight": a.weight} for a in prepared.adapters
        ],
        "notes": list(prepared.plan.notes),
        "files": [
            {
                "file": steps.path(quant).name,
                "sha256": steps.sha256(steps.path(quant)),
                **asdict(report),
                "fallbacks": report.summary,
            }
            for quant, report in reports.items()
        ],
    }


def write_documents(steps: ConversionRun, verification: Verification | None, manifest: Mapping[str, Any]) -> set[str]:
    """Write everything into the hidden folder, the manifest last, and return the names."""
    names = {MANIFEST_NAME, _CARD_NAME}
    if verification is not None:
        from genrec_edge.convert.verification.plot import draw  # noqa: PLC0415 - matplotlib takes a second to load

        write_report(steps.folder / _REPORT_NAME, verification, manifest)
        draw(steps.folder / _PLOT_NAME, verification, name=steps.job.name)
        names |= {_REPORT_NAME, _PLOT_NAME}
    with atomic_write(steps.folder / _CARD_NAME) as file:
        file.write(_card(steps.prepared, verification, manifest).encode(errors="replace"))
    with atomic_write(steps.folder / MANIFEST_NAME) as file:
        file.write(json.dumps(manifest, indent=2).encode() + b"\n")  # a file's name may be no UTF-8
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
