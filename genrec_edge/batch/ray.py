"""A job on Ray Data: actors with a model each, on this machine or on those of a cluster.

Ray only computes: the process that asked keeps what is finished. An actor that dies, with its node or alone, ends a
round; what it left is asked again in the next one, with the actors that there is room for then.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from genrec_edge.batch.worker import DEATHS, answer_chunk, crashed_rows
from genrec_edge.errors import EngineError, GenRecError, UsageError
from genrec_edge.serving.config import default_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from genrec_edge.batch.worker import Chunk, WorkerSetup

_ROUND_CHUNKS = 1024
"""Chunks that Ray holds at a time. A round begins with new actors, which is nothing beside so much work."""
_OBJECTS_BYTES = 256 << 20
"""What a Ray of our own may hold in shared memory; a chunk has some kilobytes."""
_CONNECT_S = 10.0


class RayEngine:
    """Answers chunks in actors of `n_threads` threads and as many CPUs.

    Args:
        address: of a cluster; None starts a Ray on this machine, and ends it with the job.
        n_workers: how many actors at most; None takes as many as there are CPUs for.
        n_threads: of each actor.
    """

    def __init__(self, address: str | None, n_workers: int | None, n_threads: int) -> None:
        self._address = address
        self._n_workers = n_workers
        self._n_threads = n_threads

    def answers(
        self, setup: WorkerSetup, chunks: Iterable[Chunk], n_chunks: int, on_users: Callable[[int], object]
    ) -> Generator[tuple[int, list[bytes]]]:
        """Yield (number, lines) of each of the `n_chunks` as they are done, and tell `on_users` how many users it has.

        Raises:
            UsageError: there is no cluster at the address, or too few CPUs.
            EngineError: actors die before any has answered.
            GenRecError: what an actor found that is not the fault of one user.
        """
        import ray.exceptions

        n_workers = min(self._n_workers or max(1, default_threads() // self._n_threads), n_chunks)
        with _connected(self._address, n_workers * self._n_threads):
            source = iter(chunks)
            pending: dict[int, Chunk] = {}
            deaths: Counter[int] = Counter()
            has_answered = is_alone = False
            while pending or (pending := {chunk.number: chunk for chunk in islice(source, _ROUND_CHUNKS)}):
                n_before, cause = len(pending), ""
                asked = list(pending.values())[: 1 if is_alone else None]
                try:
                    for number, lines in self._round(setup, asked, n_workers):
                        if (chunk := pending.pop(number, None)) is not None:
                            has_answered = True
                            on_users(len(chunk.users))
                            yield number, lines
                except ray.exceptions.RayError as e:
                    cause = _first_line(e)
                if len(pending) < n_before:
                    is_alone = False
                elif not is_alone:  # which chunk killed its actor is not known: the first is asked alone
                    is_alone = True
                else:
                    suspect = asked[0]
                    deaths[suspect.number] += 1
                    if deaths[suspect.number] < DEATHS:
                        continue
                    if not has_answered:
                        message = f"actors of Ray die before any has answered: {cause}"
                        raise EngineError(message, hint="use fewer `n_workers`, or the local `engine`")
                    del pending[suspect.number]
                    is_alone = False
                    on_users(len(suspect.users))
                    yield suspect.number, crashed_rows(suspect, f"{DEATHS} actors died of these users")

    def _round(self, setup: WorkerSetup, chunks: list[Chunk], n_workers: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield what new actors make of chunks.

        Raises:
            RayError: an actor died; what it had is lost.
        """
        import ray

        n_cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        if n_cpus < self._n_threads:
            message = f"the Ray cluster has {n_cpus} CPUs, and an actor is to have {self._n_threads} threads"
            raise UsageError(message, hint="use fewer `n_threads`")
        items = [{"number": chunk.number, "chunk": pickle.dumps(chunk)} for chunk in chunks]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Ray 2.64 takes this away: the extra asks for less
            answered = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                _Actor,
                batch_size=1,
                batch_format="pyarrow",
                fn_constructor_args=(setup, self._n_threads),
                compute=ray.data.ActorPoolStrategy(size=min(n_workers, len(items), n_cpus // self._n_threads)),
                num_cpus=self._n_threads,
                max_restarts=0,  # Ray would wait for room to restart it in, and that may have gone with its node
            )
        for row in answered.iter_rows():
            what = pickle.loads(row["what"])  # noqa: S301 - our own actors wrote it
            if isinstance(what, Exception):
                raise what
            yield int(row["number"]), what


class _Actor:
    """Holds a model, and answers one chunk at a time. What it raises it returns: Ray would wrap it in its own."""

    def __init__(self, setup: WorkerSetup, n_threads: int) -> None:
        self._revision = setup.revision
        self._failure: Exception | None = None
        try:
            setup.require_same_files()
            self._recommender = setup.open(n_threads)
        except Exception as e:
            self._failure = _portable(e)

    def __call__(self, batch: Any) -> Any:
        import pyarrow as pa

        chunk = pickle.loads(batch["chunk"][0].as_py())  # noqa: S301 - the process that asks wrote it
        what: list[bytes] | Exception
        try:
            what = self._failure or answer_chunk(self._recommender, chunk, self._revision)
        except Exception as e:
            what = _portable(e)
        return pa.table({"number": [chunk.number], "what": pa.array([pickle.dumps(what)], pa.large_binary())})


def _portable(error: Exception) -> Exception:
    """Return an error that says as much in another process."""
    return error if isinstance(error, GenRecError) else RuntimeError("".join(traceback.format_exception(error)))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _connected(address: str | None, n_cpus: int) -> Iterator[None]:
    """Have Ray ready and quiet while the block runs; a Ray that is there already is used, and left as it is."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    own: dict[str, Any] = {"num_cpus": n_cpus, "object_store_memory": _OBJECTS_BYTES, "_node_ip_address": "127.0.0.1"}
    if begun := not ray.is_initialized():
        _require_listener(address)
        try:
            ray.init(
                address or "local",
                include_dashboard=None if address else False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                **({} if address else own),
            )
        except (ConnectionError, ValueError, RuntimeError) as e:
            message = f"there is no Ray at {address!r}: {_first_line(e)}"
            raise UsageError(message, hint="start one with `ray start --head`, or leave `address` out") from e
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        if begun:
            ray.shutdown()


def _require_listener(address: str | None) -> None:
    """Raise UsageError unless an address with a port accepts connections: Ray would end the process silently."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as e:
        message = f"there is no Ray at {address!r}: {e}"
        raise UsageError(message, hint="start one with `ray start --head`, or leave `address` out") from e
