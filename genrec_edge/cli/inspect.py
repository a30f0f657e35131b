"""`genrec-edge inspect`: what a GGUF file is, whether it runs here, and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.common_options import Json, Quiet
from genrec_edge.cli.output import emit_json, print_table, progress
from genrec_edge.errors import UsageError

SCHEMA = "genrec-edge/inspect@1"
_LONGEST_VALUE = 160
_LABELS = {
    "context_length": "context",
    "feed_forward": "feed-forward",
    "kv_heads": "heads of keys and values",
    "head_size": "size of a head",
    "rope_base": "base of the rotation",
    "size_label": "size label",
    "license": "licence",
    "quantized_by": "quantized by",
}


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A GGUF file: a model, a vocabulary or an adapter.")],
    *,
    metadata: Annotated[bool, typer.Option("--metadata", help="Also list every key of the metadata.")] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="Also list every tensor.")] = False,
    sha256: Annotated[bool, typer.Option("--sha256", help="Also read the whole file and print its sha256.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what a GGUF file is, whether it runs here, and where it comes from; malformed ones exit with 5."""
    from genrec_edge.gguf.header import read_header  # noqa: PLC0415
    from genrec_edge.gguf.inspect import describe_header  # noqa: PLC0415
    from genrec_edge.storage.files import sha256_file  # noqa: PLC0415

    try:
        file.stat()
    except OSError as e:
        raise UsageError(f"cannot read {file}: {e.strerror}", hint="name a .gguf file") from e
    facts = describe_header(read_header(file))
    facts["sha256"] = None
    if sha256:
        with progress("hashing", facts["size_bytes"], quiet=quiet) as advance:
            facts["sha256"] = sha256_file(file, advance)
    if json:
        emit_json(SCHEMA, facts)
        return
    print_table(("field", "value"), [row for row in _rows(facts) if row[1] not in (None, "", [])])
    if facts["types"]:
        columns = ("type", "tensors", "bytes", "share")
        rows = [(t["type"], t["tensors"], f"{t['bytes']:,}", f"{t['share']:.1%}") for t in facts["types"]]
        print_table(columns, rows, right=columns[1:])
    if metadata:
        _print_lines(f"{key} = {_shown(value)}" for key, value in facts["metadata"].items())
    if tensors:
        widest = max((len(t["name"]) for t in facts["tensors"]), default=0)
        _print_lines(f"{t['name']:<{widest}}  {t['type']:<7}  {_sides(t)}" for t in facts["tensors"])


def _rows(facts: dict[str, Any]) -> list[tuple[str, object]]:
    """Return the summary for a person: label and value, some of them empty."""
    tokenizer, adapter = facts["tokenizer"], facts["adapter"]
    n_tokens, template = tokenizer["n_tokens"], tokenizer["chat_template_characters"]
    rows: list[tuple[str, object]] = [
        ("file", facts["path"]),
        ("size", f"{facts['size_bytes'] / 1e6:,.1f} MB ({facts['size_bytes']:,} bytes), GGUF {facts['gguf_version']}"),
        ("sha256", facts["sha256"]),
        ("kind", facts["kind"]),
        ("runs here", _runs(facts)),
        *((_LABELS.get(name, name), _shown(value)) for name, value in facts["general"].items()),
        ("made from", ", ".join(facts["base_models"])),
        ("architecture", facts["architecture"]),
        ("file type", facts["file_type"].replace("unknown", "")),
        ("parameters", f"{facts['n_params'] / 1e6:,.1f} M ({facts['n_params']:,})" if facts["n_params"] else None),
        *((_LABELS.get(name, name), _shown(value)) for name, value in facts["model"].items()),
        ("tokenizer", " ".join(_shown(tokenizer[name]) for name in ("model", "pre") if tokenizer[name])),
        ("vocabulary", None if n_tokens is None else f"{n_tokens:,} tokens"),
        ("chat template", None if template is None else f"{template:,} characters"),
    ]
    if adapter:
        rows += [
            ("adapter", _shown(adapter["type"])),
            ("alpha", _shown(adapter["alpha"])),
            ("rank", _shown(adapter["ranks"])),
            ("changes", f"{adapter['matrices']} matrices: {', '.join(adapter['targets'])}"),
        ]
    return [*rows, *((f"genrec_edge.{name}", _shown(value)) for name, value in facts["provenance"].items())]


def _runs(facts: dict[str, Any]) -> str:
    if facts["runs"]:
        return "yes"
    if facts["adapter"] is None:
        return f"no: {facts['why_not']}"
    if problems := facts["adapter"]["problems"]:
        return f"no: {'; '.join(problems)}"
    return f"on the {facts['architecture']} model it was made for, with recommend --adapter"


def _shown(value: object) -> str:
    """Return a value of the metadata on one line; long texts are cut, and say so."""
    if isinstance(value, dict):
        return f"({value['count']} of {value['array']})"
    if isinstance(value, list):
        text = ", ".join(str(element) for element in value)
    elif isinstance(value, float):
        text = f"{value:.7g}"
    else:
        text = "" if value is None else str(value)
    if len(text) > _LONGEST_VALUE:
        text = f"{text[:_LONGEST_VALUE]}\N{HORIZONTAL ELLIPSIS} ({len(text):,} characters)"
    return text


def _sides(tensor: dict[str, Any]) -> str:
    return f"{' x '.join(str(side) for side in tensor['shape'])}  {tensor['bytes']:,} bytes"


def _print_lines(lines: Any) -> None:
    typer.echo("\n".join(printable(line) for line in lines))
