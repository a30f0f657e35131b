"""`genrec-edge catalog`: make, look into and change catalogs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.common_options import CatalogPath, Json, Quiet
from genrec_edge.cli.output import catalog_path, emit_json, print_table, say, share_bar
from genrec_edge.errors import UsageError
from genrec_edge.storage.spooled import as_file

if TYPE_CHECKING:
    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.catalog.writer import BuildReport, Inspection
    from genrec_edge.records import Item

catalog_app = typer.Typer(help="Make, look into and change catalogs.", no_args_is_help=True)

_WHOLE_YEAR = re.compile(r"-?[0-9]{1,5}").fullmatch

Table = Annotated[
    str | None,
    typer.Option("--table", metavar="NAME", help="What to read of FILE: a table, a sheet, or a file in an archive."),
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", metavar="A,B,...", help="The names of the columns, if the first row of FILE is data."),
]
Decimal = Annotated[
    str | None, typer.Option("--decimal", metavar="MARK", help='The decimal mark, "." or ",", if "1,234" may be both.')
]


@catalog_app.command()
def build(
    file: Annotated[
        Path,
        typer.Argument(help="CSV, TSV, JSON, SQLite, Parquet or xlsx; text may be packed as .gz, .bz2, .xz or .zip."),
    ],
    out: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The catalog to make; not with --dry-run.")
    ] = None,
    *,
    title: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of the titles.")] = None,
    id_: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="The column of the ids.")] = None,
    year: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of the years.")] = None,
    table: Table = None,
    columns: Columns = None,
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", metavar="COLUMN[:SEP]", help="A column of many values; repeat it."),
    ] = None,
    no_lists: Annotated[
        list[str] | None,
        typer.Option("--no-list", metavar="COLUMN", help="A column of single values; repeat it."),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="COLUMN", help="A column of texts, even if they look like numbers; repeat it."),
    ] = None,
    decimal: Decimal = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="What the catalog is called.")] = None,
    licence: Annotated[str, typer.Option(metavar="SPDX", help="The licence of the data.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the columns hold, and make nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing catalog.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a catalog of a file that has a column of titles."""
    from genrec_edge.catalog import writer  # noqa: PLC0415

    reading: dict[str, Any] = {
        "title": title,
        "id": id_,
        "year": year,
        "table": table,
        "columns": _names(columns),
        "lists": lists or (),
        "no_lists": no_lists or (),
        "texts": texts or (),
        "decimal": decimal,
    }
    if out is None and not dry_run:
        raise UsageError("--output is missing", hint="name the catalog to make, or look at the columns with --dry-run")
    with as_file(file) as source, share_bar(f"reading {file.name}", quiet=quiet) as on_progress:
        if out is None or dry_run:
            inspection = writer.inspect(source, **reading, progress=on_progress)
        else:
            about: dict[str, Any] = {"name": name, "licence": licence}
            report = writer.build(source, out, **reading, **about, force=force, progress=on_progress)
    if out is None or dry_run:
        _show_columns(inspection, json=json, quiet=quiet)
    else:
        _show_import("build", report, json=json, quiet=quiet)


@catalog_app.command()
def info(*, catalog: CatalogPath = None, json: Json = False, quiet: Quiet = False) -> None:
    """Say what a catalog holds."""
    with _open(catalog, quiet=quiet) as opened:
        ((first, last),) = opened.query("SELECT min(year), max(year) FROM items")
        facts: dict[str, object] = {
            "name": opened.name,
            "path": str(opened.path),
            "bytes": opened.path.stat().st_size,
            "items": opened.n_items,
            "years": None if first is None else [first, last],
            "revision": opened.revision,
            "source": opened.meta.get("source", ""),
            "licence": opened.meta.get("licence", ""),
            "created": opened.meta.get("created", ""),
            "columns": list(opened.columns),
            "list_columns": list(opened.list_columns),
        }
    if json:
        emit_json("genrec-edge/catalog-info@1", facts)
    else:
        shown = facts | {"years": "" if first is None else f"{first} to {last}"}
        rows = [(key, ", ".join(value) if isinstance(value, list) else value) for key, value in shown.items()]
        print_table(["field", "value"], rows)


@catalog_app.command()
def search(
    text: Annotated[str, typer.Argument(help="Words of a title; the last may be unfinished.")],
    *,
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, max=1000, help="How many items at most.")] = 10,
    catalog: CatalogPath = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find items by words of their titles."""
    with _open(catalog, quiet=quiet) as opened:
        found = opened.search(text, limit)
    if json:
        emit_json("genrec-edge/catalog-search@1", {"query": text, "items": [_entry(item) for item in found]})
    elif found:
        print_table(["id", "title", "year"], [(item.id, item.title, item.year) for item in found])
    else:
        say("no title has all of these words; `genrec-edge resolve` forgives typing errors", quiet=quiet)


@catalog_app.command()
def add(
    file: Annotated[Path | None, typer.Argument(help="A file as for `build`; without it, one item.")] = None,
    *,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="The title; with FILE, its column.")] = None,
    id_: Annotated[str | None, typer.Option("--id", metavar="TEXT", help="The id; with FILE, its column.")] = None,
    year: Annotated[str | None, typer.Option(metavar="TEXT", help="The year; with FILE, its column.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="COLUMN=VALUE", help="A value of the one item; repeat it."),
    ] = None,
    table: Table = None,
    columns: Columns = None,
    decimal: Decimal = None,
    catalog: CatalogPath = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add the items of a file, or one item, to a catalog: all of them or none."""
    from genrec_edge.catalog import edit  # noqa: PLC0415

    path = _named(catalog)
    if file is None:
        if title is None:
            raise UsageError("nothing to add", hint="name a file, or one item with `title`")
        cells: dict[str, str] = {}
        for column, value in map(_assignment, values or ()):
            if column.casefold() in map(str.casefold, cells):
                raise UsageError(
                    f"--set gives {column!r} twice", hint="values of a list stand in one: --set tags='a|b'"
                )
            cells[column] = value
        report = edit.add_item(path, title, id=id_, year=_year(year), columns=cells)
    elif values:
        raise UsageError("--set is for one item; the values of a file stand in it", hint="leave out --set")
    else:
        with as_file(file) as source, share_bar(f"reading {file.name}", quiet=quiet) as on_progress:
            report = edit.add(
                path,
                source,
                title=title,
                id=id_,
                year=year,
                table=table,
                columns=_names(columns),
                decimal=decimal,
                progress=on_progress,
            )
    _show_import("add", report, json=json, quiet=quiet)


@catalog_app.command()
def export(
    out: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to make: .csv or .jsonl.")],
    *,
    catalog: CatalogPath = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the items of a catalog as a table, which `catalog build` reads back equal."""
    from genrec_edge.catalog.export import export as export_catalog  # noqa: PLC0415

    path = catalog_path(catalog, quiet=quiet)
    with share_bar(f"writing {out.name}", quiet=quiet) as on_progress:
        report = export_catalog(path, out, force=force, progress=on_progress)
    if json:
        payload = {
            "path": str(report.path),
            "items": report.n_items,
            "columns": list(report.columns),
            "build_options": list(report.build_options),
        }
        emit_json("genrec-edge/catalog-export@1", payload)
        return
    say(f"{out}: {_count(report.n_items, 'item')}", quiet=quiet)
    if report.build_options:
        say(f"build it again with: {' '.join(report.build_options)}", quiet=quiet)


@catalog_app.command()
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The ids, as `catalog search` shows them.")],
    *,
    catalog: CatalogPath = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove items from a catalog: all of them or none."""
    from genrec_edge.catalog import edit  # noqa: PLC0415

    path = _named(catalog)
    n_removed = edit.remove(path, ids)
    if json:
        emit_json("genrec-edge/catalog-remove@1", {"path": str(path), "removed": n_removed})
    else:
        say(f"removed {_count(n_removed, 'item')} from {path}", quiet=quiet)


@catalog_app.command()
def reset(*, json: Json = False, quiet: Quiet = False) -> None:
    """Make the films that come with the package anew, as they were shipped."""
    from genrec_edge.catalog.default_catalog import reset_default_catalog  # noqa: PLC0415

    with share_bar("building the film catalog", quiet=quiet) as on_progress:
        path = reset_default_catalog(on_progress)
    if json:
        emit_json("genrec-edge/catalog-reset@1", {"path": str(path)})
    else:
        say(f"{path}: the films as they are shipped", quiet=quiet)


def _named(catalog: Path | None) -> Path:
    """Return the catalog that was named: the shipped films are changed only by their name."""
    if catalog is None:
        raise UsageError(
            "no catalog was named, and the films that come with the package are left as they are",
            hint="name one with --catalog; `genrec-edge catalog info` shows where the films are, to be copied",
        )
    return catalog


def _open(catalog: Path | None, *, quiet: bool) -> Catalog:
    from genrec_edge.catalog.reader import Catalog  # noqa: PLC0415

    return Catalog.open(catalog_path(catalog, quiet=quiet))


def _entry(item: Item) -> dict[str, object]:
    return {"id": item.id, "title": item.title, "year": item.year, "columns": dict(item.columns)}


def _assignment(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not equals or not column.strip():
        message = f"--set {text!r} is not of the form COLUMN=VALUE"
        raise UsageError(message)
    return column.strip(), value


def _year(text: str | None) -> int | None:
    if text is None or _WHOLE_YEAR(text.strip()):
        return None if text is None else int(text)
    message = f"--year {text!r} is not a number"
    raise UsageError(message, hint="years before Christ are negative, such as -720")


def _names(columns: str | None) -> list[str] | None:
    return None if columns is None else columns.split(",")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _show_import(command: str, report: BuildReport, *, json: bool, quiet: bool) -> None:
    if json:
        payload: dict[str, object] = {
            "path": str(report.path),
            "items": report.n_items,
            "untitled": report.n_untitled,
            "title_column": report.title_column,
            "id_column": report.id_column,
            "year_column": report.year_column,
            "columns": list(report.columns),
            "list_columns": list(report.list_columns),
            "decisions": list(report.decisions),
        }
        emit_json(f"genrec-edge/catalog-{command}@1", payload)
        return
    done = f"{_count(report.n_items, 'item')}{' added' if command == 'add' else ''}"
    say(f"{report.path}: {done}", quiet=quiet)
    if report.n_untitled:
        say(f"left out: {_count(report.n_untitled, 'row')} without a title", quiet=quiet)
    if command == "build":
        roles = {"title": report.title_column, "id": report.id_column, "year": report.year_column}
        say(", ".join(f"{role}: {column or 'none'}" for role, column in roles.items()), quiet=quiet)
        say(f"other columns: {', '.join(report.columns) or 'none'}", quiet=quiet)
    for decision in report.decisions:
        say(printable(decision), quiet=quiet)


def _show_columns(inspection: Inspection, *, json: bool, quiet: bool) -> None:
    columns, roles = inspection.columns, inspection.roles
    if json:
        described = [
            {
                "name": column.name,
                "role": roles.of(column.position) or None,
                "type": column.kind.lower(),
                "list": column.separator is not None,
                "missing": column.n_missing,
                "examples": list(column.examples),
                "decisions": list(column.decisions),
            }
            for column in columns
        ]
        emit_json("genrec-edge/catalog-columns@1", {"file": str(inspection.path), "columns": described})
        return
    rows = [(c.name, roles.of(c.position), c.type_name, f"{c.n_missing:,}", " / ".join(c.examples)) for c in columns]
    print_table(["column", "is the", "holds", "missing", "examples"], rows, right=["missing"])
    for column in columns:
        for decision in column.decisions:
            say(printable(f"{column.name}: {decision}"), quiet=quiet)
