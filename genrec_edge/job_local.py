"""A job on this machine: processes that each map the same weights, and are replaced when they die."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Self

from genrec_edge.errors import EngineError, GenRecError
from genrec_edge.job_work import DEATHS, answer_chunk, given_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from types import TracebackType

    from genrec_edge.job_work import Chunk, Setup


class LocalEngine:
    """Answers chunks in `n_workers` processes of `n_threads` threads.

    The processes are spawned: a script that uses this needs `if __name__ == "__main__"`, as with any such library.
    """

    def __init__(self, n_workers: int, n_threads: int) -> None:
        self._n_workers = n_workers
        self._n_threads = n_threads

    def answers(
        self, setup: Setup, chunks: Iterable[Chunk], n_chunks: int, on_users: Callable[[int], object]
    ) -> Iterator[tuple[int, list[bytes]]]:
        """Yield (number, lines) of each of the `n_chunks` as they are done; close the iterator to end the processes.

        `on_users` is told how many more users are done; the number is negative where a worker died and its chunk is
        done again.

        Raises:
            EngineError: workers die before they have opened the model.
            GenRecError: what a worker found that is not the fault of one user.
        """
        source = iter(chunks)
        again: deque[Chunk] = deque()
        deaths: Counter[int] = Counter()
        early_deaths = 0
        with _Team(setup, self._n_threads, min(self._n_workers, n_chunks)) as team:
            while n_chunks:
                for worker in team.idle():
                    if (chunk := again.popleft() if again else next(source, None)) is not None:
                        worker.give(chunk)
                for worker, kind, what in team.heard():
                    if kind == "user":
                        worker.n_done += 1
                        on_users(1)
                    elif kind == "ready":
                        worker.is_ready, early_deaths = True, 0
                    elif kind == "failed":
                        raise what
                    elif kind == "rows":
                        n_chunks -= 1
                        yield worker.take().number, what
                    elif worker.chunk is None:  # it died with nothing to do
                        early_deaths += not worker.is_ready
                        if early_deaths == DEATHS:
                            message = f"{DEATHS} workers in a row died while they opened the model ({what})"
                            raise EngineError(message, hint="give fewer --workers, or a smaller --ctx")
                        team.replace(worker)
                    else:
                        on_users(-worker.n_done)
                        chunk = worker.take()
                        deaths[chunk.number] += 1
                        if deaths[chunk.number] < DEATHS:
                            again.append(chunk)
                        else:
                            n_chunks -= 1
                            on_users(len(chunk.users))
                            yield chunk.number, given_up(chunk, f"{DEATHS} workers died of these users ({what})")
                        team.replace(worker)


@dataclass(slots=True, eq=False)
class _Worker:
    """A process; `chunk` is what it works on, of which `n_done` users are done."""

    process: SpawnProcess
    connection: Connection
    is_ready: bool = False
    chunk: Chunk | None = None
    n_done: int = 0

    def give(self, chunk: Chunk) -> None:
        self.chunk, self.n_done = chunk, 0
        with suppress(OSError):  # it died; that is heard next
            self.connection.send(chunk)

    def take(self) -> Chunk:
        assert self.chunk is not None
        chunk, self.chunk = self.chunk, None
        return chunk


class _Team:
    """The processes of a job, all of which end with the block."""

    def __init__(self, setup: Setup, n_threads: int, n_workers: int) -> None:
        self._setup = setup
        self._n_threads = n_threads
        self._n_workers = n_workers
        self._workers: list[_Worker] = []

    def idle(self) -> list[_Worker]:
        """Return the workers that could begin a chunk."""
        return [worker for worker in self._workers if worker.is_ready and worker.chunk is None]

    def heard(self) -> Iterator[tuple[_Worker, str, Any]]:
        """Wait, and yield what workers say: worker, what it is about, and the thing itself."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection)):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                kind, what = worker.connection.recv()
            except (EOFError, OSError):
                worker.process.join()
                kind, what = "died", f"exit {worker.process.exitcode}"
            yield worker, kind, what

    def replace(self, worker: _Worker) -> None:
        """Start another worker for one that died."""
        worker.connection.close()
        self._workers.remove(worker)
        self._start()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(theirs, self._setup, self._n_threads), daemon=True)
        process.start()
        theirs.close()  # so that the death of the process ends what we read
        self._workers.append(_Worker(process, ours))

    def __enter__(self) -> Self:
        for _ in range(self._n_workers):
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.kill()  # there is nothing it could leave half done
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()


def _serve(connection: Connection, setup: Setup, n_threads: int) -> None:
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
    except Exception:  # noqa: BLE001 - a bug is a bug of the job, not a worker that died
        _tell(connection, RuntimeError(traceback.format_exc()))


def _tell(connection: Connection, error: Exception) -> None:
    with suppress(OSError):
        connection.send(("failed", error))
