"""A job on this machine: processes that each map the same weights, and are replaced when they die."""

from __future__ import annotations

import signal
import traceback
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Self

from genrec_edge.batch.processes import start_process
from genrec_edge.batch.worker import DEATHS, answer_chunk, crashed_rows
from genrec_edge.errors import EngineError, GenRecError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from types import TracebackType

    from genrec_edge.batch.worker import Chunk, WorkerSetup


class LocalEngine:
    """Answers chunks in `n_workers` processes of `n_threads` threads.

    The processes are spawned: a script that uses this needs `if __name__ == "__main__"`, as with any such library.
    """

    def __init__(self, n_workers: int, n_threads: int) -> None:
        self._n_workers = n_workers
        self._n_threads = n_threads

    def answers(
        self, setup: WorkerSetup, chunks: Iterable[Chunk], n_chunks: int, on_users: Callable[[int], object]
    ) -> Generator[tuple[int, list[bytes]]]:
        """Yield (number, lines) of each of the `n_chunks` as they are done; close the iterator to end the processes.

        `on_users` is called with how many more users are done; negative where a worker died and its chunk is
        done again.

        Raises:
            EngineError: workers die before they have opened the model.
            GenRecError: what a worker found that is not the fault of one user.
        """
        queue = _Queue(chunks, n_chunks)
        with _Team(setup, self._n_threads, min(self._n_workers, n_chunks)) as team:
            team.start()
            while queue.n_left:
                for worker in team.idle():
                    worker.give(queue.next())
                for worker, chunk, lines in team.heard():
                    if chunk is None:
                        worker.n_done += 1
                        on_users(1)
                    elif lines is not None:
                        queue.n_left -= 1
                        yield chunk.number, lines
                    elif queue.is_lost(chunk, worker.n_done):
                        queue.n_left -= 1
                        on_users(len(chunk.users) - worker.n_done)
                        yield chunk.number, crashed_rows(chunk, f"{DEATHS} workers died of these users")
                    else:
                        on_users(-worker.n_done)


class _Queue:
    """What is to be done: chunks that a worker died of come first."""

    def __init__(self, chunks: Iterable[Chunk], n_chunks: int) -> None:
        self.n_left = n_chunks
        self._source = iter(chunks)
        self._again: deque[Chunk] = deque()
        self._deaths: Counter[tuple[int, int]] = Counter()  # by chunk and how many of its users were done

    def next(self) -> Chunk | None:
        return self._again.popleft() if self._again else next(self._source, None)

    def is_lost(self, chunk: Chunk, n_done: int) -> bool:
        """Return whether workers die of a chunk whomever it leaves out; otherwise it is done again.

        After `DEATHS` workers that died when `n_done` users were done it leaves out the next one, if there is one.
        """
        self._deaths[chunk.number, n_done] += 1
        if self._deaths[chunk.number, n_done] >= DEATHS:
            if n_done == len(chunk.users) or n_done in chunk.crashing:
                return True
            chunk = replace(chunk, crashing=chunk.crashing | {n_done})
        self._again.append(chunk)
        return False


@dataclass(slots=True, eq=False)
class _Worker:
    """A process; `chunk` is what it works on, of which `n_done` users are done."""

    process: SpawnProcess
    connection: Connection
    is_ready: bool = False
    chunk: Chunk | None = None
    n_done: int = 0

    def give(self, chunk: Chunk | None) -> None:
        """Have a chunk done; None leaves the worker waiting."""
        self.chunk, self.n_done = chunk, 0
        if chunk is not None:
            with suppress(OSError):  # it died; that is heard next
                self.connection.send(chunk)

    def hear(self) -> tuple[str, Any]:
        """Return what it says: what about, and the thing itself; ("died", exit code) if it died."""
        try:
            said: tuple[str, Any] = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return "died", self.process.exitcode
        return said


class _Team:
    """The processes of a job, all of which end with the block."""

    def __init__(self, setup: WorkerSetup, n_threads: int, n_workers: int) -> None:
        self._setup = setup
        self._n_threads = n_threads
        self._n_workers = n_workers
        self._workers: list[_Worker] = []
        self._early_deaths = 0

    def start(self) -> None:
        """Start the workers; inside the block, which ends those that were started if not all of them are."""
        for _ in range(self._n_workers):
            self._start()

    def idle(self) -> list[_Worker]:
        """Return the workers that could begin a chunk."""
        return [worker for worker in self._workers if worker.is_ready and worker.chunk is None]

    def heard(self) -> Iterator[tuple[_Worker, Chunk | None, list[bytes] | None]]:
        """Wait for the workers; replace those that died, and yield what there is to say.

        (worker, None, None): it has done one more user. (worker, chunk, lines): it has done a chunk. (worker, chunk,
        None): it died of that chunk.
        """
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection)):
            worker = by_connection[connection]  # type: ignore[index]
            kind, what = worker.hear()
            if kind == "user":
                yield worker, None, None
            elif kind == "ready":
                worker.is_ready, self._early_deaths = True, 0
            elif kind == "rows":
                chunk, worker.chunk = worker.chunk, None
                yield worker, chunk, what
            elif kind == "failed":
                raise what
            else:
                self._replace(worker, what)
                if worker.chunk is not None:
                    yield worker, worker.chunk, None

    def _replace(self, worker: _Worker, exit_code: int) -> None:
        """Start another worker for one that died."""
        if not worker.is_ready:
            self._early_deaths += 1
            if self._early_deaths == DEATHS:
                message = f"{DEATHS} workers in a row died while they opened the model (exit {exit_code})"
                raise EngineError(message, hint="use fewer `n_workers`, or a smaller `n_ctx`")
        worker.connection.close()
        self._workers.remove(worker)
        self._start()

    def _start(self) -> None:
        self._workers.append(_Worker(*start_process(_serve, self._setup, self._n_threads)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.kill()  # there is nothing it could leave half done
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()


def _serve(connection: Connection, setup: WorkerSetup, n_threads: int) -> None:
    """Answer chunks until the other end is closed. Ctrl-C is for the process at that end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with setup.open(n_threads) as recommender:
            connection.send(("ready", None))
            while True:
                chunk: Chunk = connection.recv()
                lines = answer_chunk(recommender, chunk, setup.revision, lambda: connection.send(("user", None)))
                connection.send(("rows", lines))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the job ended, or was killed
    except GenRecError as e:
        _tell(connection, e)
    except Exception:
        _tell(connection, RuntimeError(traceback.format_exc()))


def _tell(connection: Connection, error: Exception) -> None:
    with suppress(OSError):
        connection.send(("failed", error))
