"""`genrec-edge convert`: a checkpoint and its adapters in, quantized and verified models out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from genrec_edge.cli.common_options import CatalogPath, Json, Quiet, Threads
from genrec_edge.cli.output import Bars, catalog_path, emit_json, needs_extra, print_table, say
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from genrec_edge.convert.pipeline.plan import ConversionJob, PreparedConversion
    from genrec_edge.convert.pipeline.run import ConversionResult

CONVERT_SCHEMA = "genrec-edge/convert@1"
_WEIGHT = re.compile(r"(?P<path>.+)=(?P<weight>[+-]?\d+(\.\d*)?([eE][+-]?\d+)?)")


def convert(
    *,
    base: Annotated[
        Path,
        typer.Option(metavar="BASE", help="A Hugging Face folder, a .gguf file, or a model of the store."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to make.")],
    adapters: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter", metavar="DIR[=WEIGHT]", help="A PEFT LoRA folder to merge; repeat it to add several."
        ),
    ] = None,
    quants: Annotated[
        str,
        typer.Option(
            "--quant", metavar="TYPES", help="File types, such as Q8_0,Q4_K_M; the first is what the name runs."
        ),
    ] = "Q8_0",
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the model, in files and in the store; else that of --out.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", metavar="SPDX", help="The licence of the result; it is never guessed."),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option("--keep-layers", metavar="LAYERS", help="Layers of the base to keep, such as 0-7,28,29."),
    ] = None,
    keep_f16: Annotated[bool, typer.Option("--keep-f16", help="Leave the F16 file beside the others.")] = False,
    keep_checkpoint: Annotated[
        bool, typer.Option("--keep-checkpoint", help="Also write the merged model as a Hugging Face folder.")
    ] = False,
    as_adapter: Annotated[
        bool, typer.Option("--as-adapter", help="Write the LoRA alone, for recommend --adapter; nothing is merged.")
    ] = False,
    imatrix: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A catalog; its prompts tell the quantizer which weights matter."),
    ] = None,
    verify: Annotated[
        Literal["full", "quick", "none"] | None,
        typer.Option(help="How much to compare; full, or quick beyond a billion weights."),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Held-out interactions, for the hit rate of each file type.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and write nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run left.")] = False,
    catalog: CatalogPath = None,
    n_threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Merge LoRA adapters into a LLaMA-family model, write GGUF, quantize, verify, and put it into the store."""
    with needs_extra("convert", looks_ahead=False):  # the rest of it when the inputs are right
        from genrec_edge.convert.checkpoint.layers import parse_layers  # noqa: PLC0415
        from genrec_edge.convert.pipeline.naming import check_licence, check_name  # noqa: PLC0415
        from genrec_edge.convert.pipeline.plan import ConversionJob, check_quants  # noqa: PLC0415
    base = _base_path(base)
    name = out.absolute().name if name is None else name
    check_name(name)
    file_types = tuple(part.strip().upper() for part in quants.split(","))
    check_quants(file_types)
    if as_adapter:
        given = {"--dry-run": dry_run, "--resume": resume, "--keep-f16": keep_f16, "--keep-checkpoint": keep_checkpoint}
        given |= {"--imatrix": imatrix is not None, "--test": test is not None}
        if unused := [option for option, is_given in given.items() if is_given]:
            raise UsageError(f"{', '.join(unused)} means nothing with --as-adapter", hint="leave it out")
    compares = not (as_adapter or dry_run or verify == "none")
    job = ConversionJob(
        base=base,
        out=out,
        name=name,
        licence="" if dry_run and licence is None else check_licence(licence, base),
        quants=file_types,
        catalog=catalog_path(catalog, quiet=quiet) if compares else catalog,
        adapters=tuple(_adapter(text) for text in adapters or ()),
        layers=None if layers is None else parse_layers(layers),
        keep_f16=keep_f16,
        keep_checkpoint=keep_checkpoint,
        imatrix=imatrix,
        verify=verify,
        test=test,
        n_threads=n_threads,
    )
    if as_adapter:
        _write_adapter(job, json=json, quiet=quiet)
    else:
        _write_model(job, resume=resume, dry_run=dry_run, json=json, quiet=quiet)


def _base_path(base: Path) -> Path:
    """Return the file of a model of the store, if `base` is the name of one and of no file; else `base`.

    Raises:
        ModelMissingError: a known model that was not pulled.
        ModelInvalidError: its file is not the one its manifest describes.
    """
    from genrec_edge.hub.store import ModelStore  # noqa: PLC0415

    store, name = ModelStore(), str(base)
    is_model = name in store.registry.models or name in store.names()
    return store.checked(name)[0] if is_model and not base.exists() else base


def _adapter(text: str) -> tuple[Path, float]:
    """Split a path from its weight; a folder whose name looks like that is meant as it is."""
    match = _WEIGHT.fullmatch(text)
    if match is None or os.path.lexists(text):
        return Path(text), 1.0
    return Path(match["path"]), float(match["weight"])


def _write_model(job: ConversionJob, *, resume: bool, dry_run: bool, json: bool, quiet: bool) -> None:
    from genrec_edge.convert.pipeline.install import install, require_free_names  # noqa: PLC0415
    from genrec_edge.convert.pipeline.run import convert as run  # noqa: PLC0415
    from genrec_edge.convert.pipeline.run import prepare  # noqa: PLC0415
    from genrec_edge.hub.store import ModelStore  # noqa: PLC0415

    store = ModelStore()
    if not resume:
        require_free_names(job, store)
    prepared = prepare(job, resume=resume)
    if dry_run:
        _show_plan(prepared, json=json, quiet=quiet)
        return
    if prepared.job.verify != "none":
        with needs_extra("convert"):  # for the report's picture; said before anything is written
            pass
    for note in prepared.plan.notes:
        say(note, quiet=quiet)
    with Bars({}, quiet=quiet) as bars:
        outcome = run(prepared, resume=resume, on_event=bars.show)
        names = install(outcome, job, store, bars.show)
    if json:
        emit_json(CONVERT_SCHEMA, _document(outcome, names))
    else:
        _show(outcome, names, quiet=quiet)


def _write_adapter(job: ConversionJob, *, json: bool, quiet: bool) -> None:
    from genrec_edge.convert.pipeline.adapter_job import convert_adapter  # noqa: PLC0415

    path = convert_adapter(job)
    if json:
        emit_json(CONVERT_SCHEMA, {"adapter": str(path)})
    else:
        typer.echo(path)
        say(f"use it with the model it was trained on: genrec-edge recommend --model … --adapter {path}", quiet=quiet)


def _show_plan(prepared: PreparedConversion, *, json: bool, quiet: bool) -> None:
    plan = prepared.plan
    if json:
        steps = [{"what": step.what, "target": step.target, "bytes": step.n_bytes} for step in plan.steps]
        needs = {"disk_bytes": plan.peak_disk_bytes, "memory_bytes": plan.memory_bytes}
        emit_json(CONVERT_SCHEMA, {"dry_run": True, "steps": steps, **needs, "notes": list(plan.notes)})
        return
    rows = [(step.what, step.target, f"{step.n_bytes / 1e6:,.0f} MB" if step.n_bytes else "") for step in plan.steps]
    print_table(("step", "what", "disk"), rows, right=("disk",))
    say(
        f"disk at most {plan.peak_disk_bytes / 1e6:,.0f} MB, "
        f"memory about {plan.memory_bytes / 1e6:,.0f} MB beside mapped files",
        quiet=quiet,
    )
    for note in plan.notes:
        say(note, quiet=quiet)
    if prepared.skip_reason:
        say(f"not compared with transformers: {prepared.skip_reason}", quiet=quiet)


def _show(outcome: ConversionResult, names: list[str], *, quiet: bool) -> None:
    from genrec_edge.convert.verification import report  # noqa: PLC0415

    if outcome.verification is not None:
        print_table(report.COLUMNS, report.rows(outcome.verification), right=report.COLUMNS[1:])
        for finding in report.findings(outcome.verification):
            say(finding, quiet=quiet)
    for entry in outcome.manifest["files"]:
        for line in entry["fallbacks"]:
            say(f"{entry['file_type']}: {line}", quiet=quiet)
    for path in outcome.files.values():
        typer.echo(path)
    hint = f"genrec-edge recommend --model {names[0]} --history TITLE"
    say(f"in the store as {', '.join(names)}: {hint}", quiet=quiet)


def _document(outcome: ConversionResult, names: list[str]) -> dict[str, Any]:
    return {
        "out": str(outcome.out),
        "models": names,
        "manifest": outcome.manifest,
        "verification": None if outcome.verification is None else outcome.verification.as_dict(),
    }
