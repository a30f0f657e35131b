"""The story of a job: a file of users in, a row for each of them out, whatever is killed meanwhile.

Users are answered in chunks, in any order and by any engine; what is finished is kept beside the output, so that the
same call goes on where a killed one was. Which engine answers changes nothing in the output.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from genrec_edge.batch.checkpoint import open_checkpoint, publish
from genrec_edge.batch.rows import check_ending, is_error_row, write_rows
from genrec_edge.batch.users import check_users_file, read_users
from genrec_edge.batch.worker import Chunk
from genrec_edge.errors import UsageError
from genrec_edge.storage.files import path_errors, require_other_file

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from genrec_edge.batch.users import BatchUser
    from genrec_edge.batch.worker import WorkerSetup
    from genrec_edge.options import Request

_FIRST_OPTIONS = frozenset({
    "k", "where", "exclude", "candidates", "allow_seen", "min_rating", "bias", "decode", "temperature", "seed",
    "preference", "intent", "intent_where", "context", "task",
})  # fmt: skip
"""The options of version 0.1, which stand in the key of every job."""
CHUNK_USERS = 16
"""What a kill costs at most, for each worker: seconds of work with a small model."""


class ChunkEngine(Protocol):
    """Who answers chunks: see `job_local.py` and `job_ray.py`."""

    def answers(
        self, setup: WorkerSetup, chunks: Iterable[Chunk], n_chunks: int, on_users: Callable[[int], object]
    ) -> Generator[tuple[int, list[bytes]]]:
        """Yield (number, lines) of each chunk once, in any order; tell `on_users` how many more users are done."""
        ...


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What came of a job: users, those without an answer, and those who had been done before this call."""

    users: int
    failed: int
    resumed: int


def run(
    users_path: Path,
    out_path: Path,
    setup: WorkerSetup,
    engine: ChunkEngine,
    common: Request,
    *,
    force: bool = False,
    on_read: Callable[[float], object] = lambda _: None,
    on_user: Callable[[str, int, int], object] = lambda _stage, _done, _total: None,
    on_note: Callable[[str], object] = lambda _: None,
) -> BatchSummary:
    """Answer every user of a file and write a row for each, in the order of the file.

    The output appears whole or not at all; what a killed call had finished is not asked again.

    Args:
        users_path: see `job_users.survey`.
        out_path: JSON lines or Parquet, by its ending.
        setup: from `job_work.prepared`.
        engine: who answers.
        common: what is asked where the row of a user says nothing else.
        force: replace an output that is there, and throw the parts of another job away.
        on_read: called with the share of the file that is read, 0..1, while it is checked.
        on_user: called with a stage, "answering" or "writing", how many users are through it, and how many there are.
        on_note: called with each sentence about what of the file was not used, or had to be decided.

    Raises:
        UsageError: a file that cannot be read or written, or is changed meanwhile; an output that is there.
        LockedError: another process is at this job.
        GenRecError: what a worker found that is not the fault of one user; finished chunks are kept.
    """
    check_ending(out_path)
    require_other_file(out_path, [users_path, *setup.files()])
    before = _state(users_path)
    found = check_users_file(users_path, common, on_read)
    for note in found.notes:
        on_note(note)
    key = {
        "users": {"sha256": found.sha256, "count": found.n_users, "chunk": CHUNK_USERS},
        "asked": _asked(common),
        **setup.key(),
    }
    sizes = [min(CHUNK_USERS, found.n_users - start) for start in range(0, found.n_users, CHUNK_USERS)]
    with open_checkpoint(out_path, key, sizes, force=force) as parts:
        missing = parts.missing()
        resumed = done = found.n_users - sum(sizes[number] for number in missing)
        on_user("answering", done, found.n_users)

        def on_users(n: int) -> None:
            nonlocal done
            done += n
            on_user("answering", done, found.n_users)

        if missing:
            wanted = frozenset(missing)
            chunks = (chunk for chunk in _chunks(read_users(users_path, common)) if chunk.number in wanted)
            with closing(engine.answers(setup, chunks, len(missing), on_users)) as answers:
                for number, lines in answers:
                    parts.keep(number, lines)
        if _state(users_path) != before:
            message = f"{users_path} was changed while its users were answered"
            raise UsageError(message, hint="repeat the call with `force` to begin anew")
        n_failed = 0

        def merged() -> Iterator[bytes]:
            nonlocal n_failed
            for n, line in enumerate(parts.lines(), start=1):
                n_failed += is_error_row(line)
                yield line
                if n % CHUNK_USERS == 0 or n == found.n_users:
                    on_user("writing", n, found.n_users)

        as_parquet, are_numbers = out_path.suffix == ".parquet", found.are_numbers
        publish(out_path, lambda file: write_rows(merged(), file, as_parquet=as_parquet, are_numbers=are_numbers))
    return BatchSummary(found.n_users, n_failed, resumed)


def _asked(common: Request) -> dict[str, object]:
    """Return what is asked of all users, as the key of a job has it.

    Options that came after version 0.1 are in it only where they are used, so that jobs begun before them go on.
    """
    default = asdict(type(common)())
    return {
        name: value
        for name, value in asdict(common).items()
        if name in _FIRST_OPTIONS or (name != "history" and value != default[name])
    }


def _state(path: Path) -> tuple[int, int]:
    with path_errors(path):
        status = path.stat()
    return status.st_size, status.st_mtime_ns


def _chunks(users: Iterable[BatchUser]) -> Iterator[Chunk]:
    source = iter(users)
    number = 0
    while group := tuple(islice(source, CHUNK_USERS)):
        yield Chunk(number, group)
        number += 1
