"""SQLite files of ours: how they are recognised, opened, created and brought up to date, and what their errors become.

Every kind of file (catalog, prior, profiles) is one `SqliteFormat`. It is recognised by the application id in the
header of the file, and its version by the user version there. Knows no tables.
"""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from genrec_edge.errors import DiskError, GenRecError, UsageError
from genrec_edge.storage.files import disk_full_error, has_no_room, largest_file_bytes
from genrec_edge.storage.kept_descriptors import descriptor, read_at
from genrec_edge.storage.locks import lock_error
from genrec_edge.storage.migrations import Migration, expected_tables, migrate, tables_of, version_of
from genrec_edge.storage.sqlite_digest import HEADER_BYTES, DigestState, digest_state, parse_header, write_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Mode = Literal["ro", "rw"]
"""How a file is opened: read-only, or for reading and writing."""

BUSY_TIMEOUT_S = 10.0
"""How long another process may hold a file before we give up."""

_MAGIC = b"SQLite format 3\0"
_MAX_SHOWN_CHARACTERS = 200
"""Of what a damaged file made SQLite say."""
_DIGEST_ATTEMPTS = 3
"""A program that opens and closes the file by itself in this process drops our locks, and a writer may come between."""
_READ_TOO_FAR = sqlite3.SQLITE_IOERR_SHORT_READ
"""The error of a file that was cut off."""
_BESIDE = ("-journal", "-wal", "-shm")
"""What SQLite opens beside a file, after its name."""


def _keep_defaults(_connection: sqlite3.Connection) -> None:
    """Set nothing on a connection."""


@dataclass(frozen=True, slots=True)
class SqliteFormat:
    """One kind of SQLite file, and its versions.

    A file that is opened for writing is brought to the newest version first. One that is opened read-only is left as it
    is, so what reads it has to understand every version.

    Attributes:
        name: what a file of this kind is called in messages.
        application_id: stands in the header of every file of this kind.
        migrations: see `storage/migrations.py`; there are as many versions as migrations.
        invalid: the error about a file that is not of this kind, is damaged or is too new.
        make_hint: how to make such a file, for one that is missing; `{path}` stands for its path.
        import_hint: what else can be done with a file that is not of this kind.
        repair_hint: what to do with a damaged file.
        unusable: the error about a file that cannot be opened or written.
        has_fixed_tables: whether all files of a version have the same tables. Then a file with any other table, index,
            trigger or view is refused: a view could compute without end.
        configure: sets what every connection needs.
        check: looks at a file that was opened, each time; what it raises says why the file is not of this kind.
        has_digest: whether every write ends with a digest of the file; see `storage/sqlite_digest.py`.
    """

    name: str
    application_id: int
    migrations: tuple[Migration, ...]
    invalid: type[GenRecError]
    make_hint: str
    import_hint: str
    repair_hint: str
    unusable: type[GenRecError] = UsageError
    has_fixed_tables: bool = True
    configure: Callable[[sqlite3.Connection], object] = _keep_defaults
    check: Callable[[sqlite3.Connection], object] = _keep_defaults
    has_digest: bool = False

    @property
    def version(self) -> int:
        """The newest version, which new files have."""
        return len(self.migrations)

    def check_header(self, path: Path) -> None:
        """Check the first hundred bytes of a file. Read-only.

        Raises:
            UsageError: no such file, or it cannot be read.
            GenRecError: `invalid`: not SQLite, another program's database, or cut off.
        """
        try:
            with descriptor(path) as number:
                data = read_at(number, HEADER_BYTES, 0)
            n_bytes = path.stat().st_size
            odd = [name for name in _beside(path) if name.exists() and not name.is_file()]
        except FileNotFoundError as e:
            raise UsageError(f"no such {self.name}: {path}", hint=self.make_hint.format(path=path)) from e
        except OSError as e:
            message = f"cannot read the {self.name} {path} ({e.strerror})"
            raise UsageError(message, hint="check its name and permissions") from e
        if odd:  # SQLite would wait for ever at a pipe
            raise UsageError(f"{odd[0]} is not a file", hint=f"remove it; it stands beside the {self.name} {path}")
        if not data.startswith(_MAGIC) or len(data) < HEADER_BYTES:
            raise self.invalid(f"{path} is not a {self.name}", hint=self.import_hint.format(path=path))
        if int.from_bytes(data[68:72], "big") != self.application_id:
            message = f"{path} is not a {self.name} but a SQLite database of another program"
            raise self.invalid(message, hint=self.import_hint.format(path=path))
        is_short = n_bytes < parse_header(data).n_bytes
        if is_short and not _journal_path(path).exists():  # with a journal, another process may be extending it
            raise self.damaged(path, f"it is cut off, {n_bytes:,} bytes are left of it")

    def connect(self, path: Path, mode: Mode) -> sqlite3.Connection:
        """Open a file as it is, for use from any thread (one at a time); statements commit themselves.

        Raises:
            UsageError: no such file.
            GenRecError: `invalid`: see `check_header`; or damaged, or of a version newer than the known ones.
            LockedError: another process has been writing to it for `BUSY_TIMEOUT_S`.
        """
        self.check_header(path)
        with self.errors(path):
            if mode == "ro" and _journal_path(path).exists():
                # A writer was killed: only a connection that may write can roll its half-done work back.
                with closing(_connected(path, "rw")) as connection:
                    connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            connection = _connected(path, mode)
            try:
                if mode == "ro" or self.has_fixed_tables:
                    # Off where files may have triggers: SQLite calls one that writes to full text unsafe.
                    connection.execute("PRAGMA trusted_schema = OFF")
                self.configure(connection)
                self._check_version(path, connection)
                self.check(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    @contextmanager
    def opened(self, path: Path, mode: Mode) -> Iterator[sqlite3.Connection]:
        """Yield a connection, closed at the end of the block; "rw" brings the file to the newest version first.

        Raises:
            DiskFullError: no room.
            GenRecError: as `connect`; what SQLite raises in the block becomes one of these errors, too.
        """
        with self.errors(path), closing(self.connect(path, mode)) as connection:
            if mode == "rw":
                migrate(connection, self.migrations, self.application_id)
            yield connection

    @contextmanager
    def writing(self, path: Path) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside one transaction: committed when the block ends well, rolled back otherwise.

        Raises: as `opened`.
        """
        with self.opened(path, "rw") as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
            if self.has_digest:
                connection.execute("BEGIN IMMEDIATE")  # nobody else writes until the block ends
                with suppress(OSError):  # the file is right without it
                    write_digest(path)

    @contextmanager
    def creating(self, path: Path, initial: Migration | None = None) -> Iterator[sqlite3.Connection]:
        """Yield a connection to an empty file, which gets the tables of the newest version.

        No other process sees the file yet. It is written fast, without a journal, and is worthless if the block fails.

        Args:
            path: the empty file.
            initial: stands in for the first migration, where that takes arguments.
        """
        migrations = (self.migrations[0] if initial is None else initial, *self.migrations[1:])
        with self.errors(path), closing(_connected(path, "rw")) as connection:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            migrate(connection, migrations, self.application_id)
            yield connection
        if self.has_digest:
            write_digest(path)

    def create_tables(self, path: Path) -> None:
        """Give an empty file that others may open already its tables; does nothing to one that has them."""
        if path.stat().st_size == 0:
            with self.errors(path), closing(_connected(path, "rw")) as connection:
                migrate(connection, self.migrations, self.application_id)

    def digest_state(self, path: Path, connection: sqlite3.Connection) -> DigestState:
        """Compare the bytes of a file with the digest behind them, while no other process can write to it."""
        state: DigestState = "wrong"
        for _ in range(_DIGEST_ATTEMPTS):
            connection.execute("BEGIN")
            try:
                connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # takes the lock
                state = digest_state(path)
            finally:
                connection.execute("ROLLBACK")
            if state != "wrong":
                break
        return state

    @contextmanager
    def errors(self, path: Path) -> Iterator[None]:
        """Turn what SQLite raises in the block into an error about `path`.

        Raises:
            LockedError: another process is writing to it.
            DiskFullError, DiskError: no room, or the disk fails.
            UsageError: it was closed.
            KeyboardInterrupt: a signal ended the query.
            GenRecError: `unusable` or `invalid`.
        """
        try:
            yield
        except sqlite3.ProgrammingError as e:
            if "closed" not in str(e):
                raise  # a mistake of ours
            raise UsageError(f"the {self.name} {path} was closed", hint="open it again") from e
        except (sqlite3.Error, UnicodeDecodeError) as e:  # the second for damaged text
            raise self._error(path, e) from e

    def _error(self, path: Path, e: Exception) -> BaseException:
        """Return what an error of SQLite becomes."""
        extended_code = getattr(e, "sqlite_errorcode", 0)
        code = extended_code & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}:
            return lock_error(path)
        if code == sqlite3.SQLITE_INTERRUPT:
            return KeyboardInterrupt()  # our queries are ended by nothing else
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and extended_code != _READ_TOO_FAR):
            return _disk_error(path, e, extended_code)
        if code == sqlite3.SQLITE_CANTOPEN and has_no_room(path.parent):
            return disk_full_error(path)
        if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
            message = f"cannot open or write {path} ({e})"
            return self.unusable(message, hint="check the permissions of its folder")
        return self.damaged(path, str(e))

    def damaged(self, path: Path, what: str) -> GenRecError:
        """Return the error about a file that is of this kind, but not as it should be; `what` may quote the file."""
        finding = "".join(c if c.isprintable() else "?" for c in " ".join(what.split())[:_MAX_SHOWN_CHARACTERS])
        return self.invalid(f"the {self.name} {path} is damaged or not as expected: {finding}", hint=self.repair_hint)

    def _check_version(self, path: Path, connection: sqlite3.Connection) -> None:
        version = version_of(connection)
        if version > self.version:
            message = f"the {self.name} {path} has format {version}; this program knows formats up to {self.version}"
            raise self.invalid(message, hint="install a newer genrec-edge")
        if version < 1:
            raise self.damaged(path, "it has no version of the format")
        if self.has_fixed_tables and tables_of(connection) != expected_tables(self.migrations[:version]):
            raise self.damaged(path, f"its tables are not those of format {version}")


def _disk_error(path: Path, e: Exception, extended_code: int) -> GenRecError:
    if extended_code & 0xFF == sqlite3.SQLITE_FULL or has_no_room(path.parent):
        return disk_full_error(path)
    if extended_code == sqlite3.SQLITE_IOERR_WRITE and largest_file_bytes() is not None:
        return disk_full_error(path, errno.EFBIG)
    message = f"the disk of {path} failed ({e})"
    return DiskError(message, hint="check the disk and the system log, or use another disk")


def remove_beside(path: Path) -> None:
    """Remove what SQLite left beside a file to be replaced: a journal would be rolled into the new one."""
    for name in _beside(path):
        name.unlink(missing_ok=True)


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in _BESIDE]


def _journal_path(path: Path) -> Path:
    return _beside(path)[0]


def _connected(path: Path, mode: Mode) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def quoted(identifier: str) -> str:
    """Return a table or column name as SQL: in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'
