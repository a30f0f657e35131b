"""What commands print with: data on stdout, messages and progress on stderr, colour only where a person looks."""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from genrec_edge.catalog.titles import clean
from genrec_edge.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from types import TracebackType

    from rich.console import Console

_NARROWEST = 12
_BETWEEN_COLUMNS = 3
_EXTRAS = {
    "convert": {"gguf", "matplotlib"},
    "parquet": {"pyarrow"},
    "ray": {"pandas", "pyarrow", "ray"},
    "train": {"accelerate", "gguf", "matplotlib", "peft", "safetensors", "torch", "transformers"},
}


@functools.cache
def console() -> Console:
    """Return the console on stdout."""
    return _console(stderr=False)


@functools.cache
def console_err() -> Console:
    """Return the console on stderr."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console  # noqa: PLC0415 - 0.1 s that `--json` does not need

    class Raising(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # Rich would exit with 1; the top of the command line knows better

    plain = bool(os.environ.get("GENREC_EDGE_NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Raising(stderr=stderr, no_color=plain or None, highlight=False, markup=False, emoji=False)


def emit_json(schema: str, payload: Mapping[str, object]) -> None:
    """Print one JSON object on stdout, its schema first. Numbers JSON has no word for become null."""
    document = _finite({"schema": schema, **payload})
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # stdout is not UTF-8, or a text holds a lone surrogate
        text = json.dumps(document, allow_nan=False)
    sys.stdout.write(text + "\n")


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_finite(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[str] = (),
    bold: Collection[tuple[int, int]] = (),
) -> None:
    """Print a table on stdout; cells are cleaned of control characters.

    Columns named in `right` are right-aligned, cells in `bold` (row, column) are bold. In a narrow window cells are
    folded, at most to `_NARROWEST` characters; beyond, the lines are longer than the window.
    """
    from rich import box  # noqa: PLC0415
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    texts = [["" if cell is None else clean(str(cell)) for cell in row] for row in rows]
    least = 0
    for name, *cells in zip(columns, *texts, strict=True):
        justify: Literal["left", "right"] = "right" if name in right else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name in right)
        longest = max(cell_len(text) for text in (name, *cells))
        least += (longest if name in right else min(longest, _NARROWEST)) + _BETWEEN_COLUMNS
    if least > console().width:
        table.width = least
    for r, row in enumerate(texts):
        table.add_row(*(Text(text, "bold" if (r, c) in bold else "") for c, text in enumerate(row)))
    console().print(table, crop=False)


def say(message: str, *, quiet: bool = False) -> None:
    """Print a message on stderr."""
    if not quiet:
        console_err().print(message, soft_wrap=True)


@contextmanager
def progress(description: str, total: float | None, *, quiet: bool = False) -> Iterator[Callable[[float], None]]:
    """Draw a progress bar on stderr while the block runs, if a person looks; yield the function that advances it."""
    if quiet or not console_err().is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console_err(), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda n: bar.advance(task, n)


@contextmanager
def title_bar(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with (titles done, of how many); with each first title a bar appears.

    Titles are read twice where they are indexed and calibrated.
    """
    with ExitStack() as stack:
        advance: list[Callable[[float], None]] = []

        def on_title(done: int, total: int) -> None:
            if done == 1 or not advance:
                stack.close()
                advance[:] = [stack.enter_context(progress("reading the titles", total, quiet=quiet))]
            if done % 256 == 0 or done == total:
                advance[0](done % 256 or 256)

        yield on_title


@contextmanager
def share_bar(description: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Yield a function to call with the share done, 0..1; the bar appears with the first."""
    with ExitStack() as stack:
        advance: list[Callable[[float], None]] = []
        done = 0.0

        def on_progress(share: float) -> None:
            nonlocal done
            if not advance:
                advance.append(stack.enter_context(progress(description, 1.0, quiet=quiet)))
            advance[0](share - done)
            done = share

        yield on_progress


class Bars:
    """Progress bars on stderr, one after the other for each stage, with the introduction before the first.

    `names` says what a stage is called where its own name would not do.
    """

    def __init__(self, names: Mapping[str, str], *, quiet: bool, introduction: str = "") -> None:
        self._names = names
        self._quiet = quiet
        self._introduction = introduction
        self._open = ExitStack()
        self._stage = ""
        self._done = 0
        self._advance: Callable[[int], object] = lambda _: None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def show(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` of a stage are done; a total of 0 is unknown."""
        if self._quiet:
            return
        if stage != self._stage:
            self._start(stage, total)
        self._advance(done - self._done)
        self._done = done

    def counter(self, stage: str, total: int) -> Callable[[int], None]:
        """Return a function to call with the size of each chunk."""
        return lambda n_bytes: self.show(stage, self._done + n_bytes, total)

    def _start(self, stage: str, total: int) -> None:
        self._open.close()
        if self._introduction and stage != "wait":
            say(self._introduction)
            self._introduction = ""
        self._advance = self._open.enter_context(progress(self._names.get(stage, stage), total or None))
        self._stage, self._done = stage, 0


@contextmanager
def needs_extra(extra: str, *, looks_ahead: bool = True) -> Iterator[None]:
    """Turn a missing module of an optional part of the package into one line that says how to install it.

    Those that are loaded only later, after hours of work perhaps, are looked for, too, unless `looks_ahead` is False.

    Raises:
        MissingExtraError: with the name of the module.
    """
    try:
        for module in sorted(_EXTRAS[extra]) if looks_ahead else ():
            if find_spec(module) is None:
                raise _missing(extra, module)
        yield
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in _EXTRAS[extra]:
            raise  # a broken installation is something else
        raise _missing(extra, str(e.name)) from e


def _missing(extra: str, module: str) -> MissingExtraError:
    message = f"{module} is not installed, which this command needs"
    return MissingExtraError(message, hint=f"pip install 'genrec-edge[{extra}]'")


def require_file_name(path: Path) -> None:
    """Refuse, before any work, the name of a folder where a file is to be made.

    Raises:
        UsageError: there is a folder of that name.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, and a file is to be made", hint="name a file in it")


def catalog_path(catalog: str | Path | None, *, quiet: bool = False) -> Path:
    """Return the catalog that was named; for None the shipped films, with a bar while they are built the first time."""
    from genrec_edge.catalog.default_catalog import default_catalog_path  # noqa: PLC0415

    if catalog is not None:
        return Path(catalog)
    with share_bar("building the film catalog", quiet=quiet) as on_progress:
        return default_catalog_path(on_progress)
