"""A folder of what can be made again at any time, such as a title index: worth nothing but time.

A damaged one is made again with a word, and one that cannot be kept serves this process alone, with a word, too. The
folder around it holds the lock and the leftovers of makers that were killed, which the next one removes.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from genrec_edge.errors import DiskError, DiskFullError
from genrec_edge.storage.array_folder import DamagedArraysError
from genrec_edge.storage.folders import locked_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class MadeFolder(Generic[_Made]):
    """Where something is kept, and how.

    Attributes:
        what: it is called in warnings, with its article.
        path: the folder.
        read_from: what a folder holds, None if there is none; raises DamagedArraysError.
        write_to: writes a folder whole.
    """

    what: str
    path: Path
    read_from: Callable[[Path], _Made | None]
    write_to: Callable[[_Made, Path], None]

    def get(
        self,
        fits: Callable[[_Made], bool],
        make: Callable[[], _Made],
        *,
        on_wait: Callable[[], object] = lambda: None,
        may_keep: Callable[[], bool] = lambda: True,
    ) -> _Made:
        """Return what the folder holds if it fits, else what is made, which is kept.

        Args:
            fits: whether what a folder holds is what is asked for.
            make: makes it.
            on_wait: called several times a second while another process makes it; it may raise.
            may_keep: called when it is made, whether it is still worth keeping.

        Raises:
            LockedError: another process has been at it for ten minutes.
        """
        known = self.peek()
        if known is not None and fits(known):
            return known
        with self.writing(on_wait) as can_write:
            known = self.read()
            if known is not None and fits(known):
                return known
            made = make()
            is_kept = can_write and may_keep() and self.keep(made)
        known = self.peek() if is_kept else None  # a large one is mapped: no memory of its own
        return made if known is None or not fits(known) else known

    def peek(self) -> _Made | None:
        """Return what the folder holds, None if it cannot be used: another process may be about to replace it."""
        with suppress(DamagedArraysError):
            return self.read_from(self.path)
        return None

    def read(self) -> _Made | None:
        """Return what the folder holds, None if there is none that can be used, with a word if it is damaged."""
        try:
            return self.read_from(self.path)
        except DamagedArraysError as e:
            log.warning("%s in %s is damaged (%s); it is built again", self.what, self.path, e)
            return None

    @contextmanager
    def writing(self, on_wait: Callable[[], object]) -> Iterator[bool]:
        """Hold the lock of the folder around it, and yield whether it can be written.

        `on_wait` is called several times a second while another process holds the lock; it may raise.

        Raises:
            LockedError: it has held the lock for ten minutes.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked_root(self.path.parent, on_poll=on_wait))
            except (OSError, DiskError, DiskFullError) as e:
                self._warn_of_unkept(e)
                can_write = False
            else:
                can_write = True
            yield can_write

    def keep(self, made: _Made) -> bool:
        """Write the folder, and return whether that was possible."""
        try:
            self.write_to(made, self.path)
        except (OSError, DiskError, DiskFullError) as e:
            self._warn_of_unkept(e)
            return False
        return True

    def _warn_of_unkept(self, error: Exception) -> None:
        why = getattr(error, "strerror", None) or error
        folder = self.path.parent
        log.warning("%s is not kept in %s, and is built again at the next start: %s", self.what, folder, why)
