"""What is done before a job begins: everything is opened once, in a process of its own, which a bad model may end."""

from __future__ import annotations

import logging
import signal
import traceback
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from genrec_edge.batch.processes import start_process
from genrec_edge.errors import EngineError, GenRecError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from genrec_edge.batch.worker import WorkerSetup


def prepare_setup(
    setup: WorkerSetup,
    *,
    on_title: Callable[[int, int], object] = lambda _done, _total: None,
    on_bytes: Callable[[int], object] = lambda _: None,
) -> WorkerSetup:
    """Open everything once, so that what is wrong is known before any worker starts; return the setup with hashes.

    Its `calibrate` is a number, also where the caller left it to the record of the model.

    The title index, and the calibration where one is asked for, are on the disk afterwards if there is room for them.
    The process is spawned: a script that uses this needs `if __name__ == "__main__"`.

    Args:
        setup: without hashes.
        on_title: called with the number of titles that are indexed or calibrated, and of all.
        on_bytes: called with the size of each piece of a file that is hashed.

    Raises:
        EngineError: the process died.
        GenRecError: as `Recommender.open`.
    """
    revision, calibrate = _opened(setup, on_title)
    options = replace(setup.options, calibrate=calibrate)
    return replace(setup, options=options, sha256=setup.hashes(on_bytes), revision=revision)


def _opened(setup: WorkerSetup, on_title: Callable[[int, int], object]) -> tuple[str, float]:
    """Return the revision of the catalog and what `calibrate` is, once a process has opened everything."""
    process, ours = start_process(_open, setup)
    try:
        with closing(ours):
            while True:
                kind, *said = ours.recv()
                if kind == "title":
                    on_title(*said)
                elif kind == "warning":
                    logging.getLogger(said[0]).warning("%s", said[1])
                elif kind == "failed":
                    raise said[0]
                else:
                    return said[0], said[1]
    except EOFError:
        process.join()
        raise EngineError(
            f"the process that opened the model {setup.options.model} {_how(process.exitcode)}",
            hint="`genrec-edge inspect` says what is in the file; with little memory, give a smaller `n_ctx`",
        ) from None
    finally:
        process.kill()
        process.join()


def _open(connection: Connection, setup: WorkerSetup) -> None:
    """Open everything and say what came of it. Ctrl-C is for the process at the other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("genrec_edge").addHandler(_Forwarding(connection))
    try:
        with setup.open(1, lambda done, total: connection.send(("title", done, total))) as recommender:
            connection.send(("opened", recommender.catalog.revision, recommender.session.config.calibrate))
    except (BrokenPipeError, ConnectionResetError):
        return  # nobody waits for it any more
    except GenRecError as e:
        _tell(connection, e)
    except Exception:
        _tell(connection, RuntimeError(traceback.format_exc()))


class _Forwarding(logging.Handler):
    """Says what is logged as a warning at the other end, such as an index that is not kept."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            self._connection.send(("warning", record.name, record.getMessage()))


def _tell(connection: Connection, error: Exception) -> None:
    with suppress(OSError):
        connection.send(("failed", error))


def _how(exit_code: int | None) -> str:
    """Return how a process ended.

    >>> _how(-6)
    'died of SIGABRT'
    """
    if exit_code is not None and exit_code < 0:
        return f"died of {signal.Signals(-exit_code).name}"
    return f"ended with {exit_code}"
