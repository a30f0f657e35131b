"""The progress of work that goes through users, one part after the other: how many, and how many a second."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.output import console_err, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

_LINE_EVERY_S = 60.0


@contextmanager
def users_bar(n_parts: int, *, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function to call with (part, users done, of how many); without a terminal it prints a line a minute.

    The parts follow each other, and there are `n_parts` of them.
    """
    if quiet:
        yield lambda _name, _done, _total: None
    elif not console_err().is_terminal:
        yield _Lines().show
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("users, {task.fields[speed]:.3g} a second,"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console_err(), transient=True) as bar:
            tasks: dict[str, TaskID] = {}

            def on_user(name: str, done: int, total: int) -> None:
                if name not in tasks:
                    for task in tasks.values():
                        bar.update(task, visible=False)
                    label = f"{len(tasks) + 1}/{n_parts} {printable(name)}"
                    tasks[name] = bar.add_task(label, total=total, completed=done, speed=0.0)
                speed = bar.tasks[bar.task_ids.index(tasks[name])].speed
                bar.update(tasks[name], completed=done, speed=speed or 0.0)

            yield on_user


class _Lines:
    """Says now and then on stderr how far a part is."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def show(self, name: str, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._said_at > _LINE_EVERY_S:
            self._said_at = time.monotonic()
            say(f"{printable(name)}: {done:,} of {total:,} users")
