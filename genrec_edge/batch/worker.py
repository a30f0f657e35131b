"""What a worker of a job does, in whichever process: open the model and the catalog, and answer chunks of users."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec_edge._version import __version__
from genrec_edge.batch import rows
from genrec_edge.errors import (
    CatalogError,
    EngineError,
    ModelInvalidError,
    NothingToRecommendError,
    UsageError,
)
from genrec_edge.gguf.header import read_header
from genrec_edge.hub.store import ModelFile
from genrec_edge.recommender import Recommender
from genrec_edge.serving.session import Session
from genrec_edge.storage.files import path_errors, sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from genrec_edge.batch.users import BatchUser
    from genrec_edge.hub.manifest import Manifest
    from genrec_edge.options import OpenOptions

DEATHS = 3
"""After so many, what was asked is given up; so is a job whose workers die before they have begun."""
_OF_ONE_USER = (UsageError, NothingToRecommendError, EngineError)
"""What may be wrong with the request of one user; anything else would be wrong with the next one, too."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Users that are answered and kept together; `number` is from 0, `crashing` the places of users to skip."""

    number: int
    users: tuple[BatchUser, ...]
    crashing: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What every worker opens.

    Attributes:
        options: with paths that are found from any folder; threads are not among them.
        manifest: of the model, where it comes from the store.
        sha256: of each file, by its role; from `prepare.prepare_setup`, as is `revision`, that of the catalog.
    """

    options: OpenOptions
    manifest: Manifest | None = None
    sha256: tuple[tuple[str, str], ...] = ()
    revision: str = ""

    def open(self, n_threads: int, on_title: Callable[[int, int], object] | None = None) -> Recommender:
        """Return the recommender; `Recommender.open` says what can be raised."""
        path = self._model_path()
        model_file = ModelFile(path, self.manifest, read_header(path))
        return Recommender(
            Session.open(replace(self.options, model=model_file, n_threads=n_threads, on_title=on_title))
        )

    def files(self) -> list[Path]:
        """Return the files that workers read."""
        named = (self.options.model, self.options.catalog, self.options.adapter, self.options.prior)
        return [Path(path) for path in named if isinstance(path, str | Path)]

    def hashes(self, on_bytes: Callable[[int], object] = lambda _: None) -> tuple[tuple[str, str], ...]:
        """Return the sha256 of model, adapter and prior; that of a model of the store is its manifest's."""
        named = {"model": self._model_path(), "adapter": self.options.adapter, "prior": self.options.prior}
        found = {} if self.manifest is None else {"model": self.manifest.sha256}
        for role, named_path in named.items():
            if named_path is not None and role not in found:
                path = Path(named_path)
                with path_errors(path):
                    found[role] = sha256_file(path, on_bytes)
        return tuple(found.items())

    def require_same_files(self) -> None:
        """Raise ModelInvalidError if files on this machine are others than those of the machine that prepared it."""
        here = replace(self, manifest=None).hashes()
        if differing := [role for (role, ours), (_, theirs) in zip(here, self.sha256, strict=True) if ours != theirs]:
            message = f"the {differing[0]} on this machine is not the file that the job was begun with"
            raise ModelInvalidError(message, hint="put the same files under the same names on every machine")

    def key(self) -> dict[str, Any]:
        """Return all of this that answers depend on, ready for JSON."""
        options = self.options
        return {
            "files": dict(self.sha256),
            "catalog": {"revision": self.revision},
            "setup": {
                "score": options.score,
                "ctx": options.n_ctx,
                # Nothing, for "none": jobs of the version before, which had no prior where none was named, go on.
                "prior": None if options.prior_kind == "none" else options.prior_kind or "mixture",
                "prior_weight": options.prior_weight,
                "budget": options.budget,
                "calibrate": options.calibrate,
            },
            "versions": {
                "genrec-edge": __version__,
                "llama-cpp-python": importlib.metadata.version("llama-cpp-python"),
            },
        }

    def _model_path(self) -> Path:
        model = self.options.model
        if not isinstance(model, Path):
            raise TypeError(f"workers open models by their path, got {model!r}")
        return model


def answer_chunk(
    recommender: Recommender, chunk: Chunk, revision: str, on_user: Callable[[], object] = lambda: None
) -> list[bytes]:
    """Return the line of each user of a chunk; a request that cannot be answered gets one that says why.

    Raises:
        CatalogError: the catalog is not of this revision any more.
    """
    lines = []
    for place, user in enumerate(chunk.users):
        recommender.forget()
        try:
            if place in chunk.crashing:
                raise EngineError(f"{DEATHS} workers died of this request")
            lines.append(rows.answer_row(user.user, recommender.answer(user.request)))
        except _OF_ONE_USER as e:
            lines.append(rows.error_row(user.user, e.code, e.message))
        on_user()
    if recommender.catalog.revision != revision:
        message = f"the catalog {recommender.catalog.path} was changed since the job was begun"
        raise CatalogError(
            message, hint="repeat the call with `force` to answer all users from the catalog as it is now"
        )
    return lines


def crashed_rows(chunk: Chunk, why: str) -> list[bytes]:
    """Return the lines of a chunk that no worker survives, whomever they died of."""
    message = f"{why}, {len(chunk.users)} users at a time"
    return [rows.error_row(user.user, EngineError.code, message) for user in chunk.users]
