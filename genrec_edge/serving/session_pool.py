"""Several sessions that answer at the same time, each by a context of its own with one thread.

The same answers as one after the other, and less waiting of threads for each other than in one context with all of
them. Figures, also for all users in one batch: docs/decisions/0002-contexts-instead-of-shared-batches.md.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from genrec_edge.serving.session import Session

_SMALL_BYTES = 500_000_000
"""Larger files keep the memory bus busy with one context. SmolLM2-135M has 145 MB at Q8_0."""

_Task = TypeVar("_Task")
_Answer = TypeVar("_Answer")


def pool_size(n_bytes: int, n_threads: int) -> int:
    """Return how many sessions of a model file of `n_bytes` are to share `n_threads`."""
    return n_threads if n_bytes <= _SMALL_BYTES else 1


class SessionPool:
    """Sessions that share their work. Use it in a `with` block, which closes them.

    Args:
        members: at least one, and clones of it; nothing else may use them meanwhile.
    """

    def __init__(self, members: Sequence[Session]) -> None:
        self.members = members
        self._idle: SimpleQueue[Session] = SimpleQueue()
        for member in members:
            self._idle.put(member)
        self._executor = ThreadPoolExecutor(len(members))

    def map(self, work: Callable[[Session, _Task], _Answer], tasks: Iterable[_Task]) -> Iterator[_Answer]:
        """Yield what `work` returns for each task, in order."""

        def answer(task: _Task) -> _Answer:
            member = self._idle.get()
            try:
                return work(member, task)
            finally:
                self._idle.put(member)

        return self._executor.map(answer, tasks)

    def cancel(self) -> None:
        """Interrupt what is being answered, from any thread."""
        for member in self.members:
            member.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()  # answers that are not awaited any more
        with ExitStack() as closing:
            for member in self.members:  # closed in reverse: clones before the one whose weights they share
                closing.callback(member.close)
            self._executor.shutdown(cancel_futures=True)
