"""Every error a user can meet: one class per remedy, each with its exit code.

A message is one sentence that says what was found and where; `hint` says what to do next. The command line prints both
on one line each and exits with `exit_code`; `docs/cli.md` lists the codes. Knows nothing of the rest of the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class GenRecError(Exception):
    """An expected failure. `message` says what and where, `hint` what to do next (may be empty)."""

    exit_code = 1
    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(GenRecError):
    """A wrong option, argument or input file: the caller has to change the call."""

    exit_code = 2
    code = "usage"


class ForkError(UsageError):
    """A process was forked, and uses in the copy what llama.cpp can use only where it was opened."""


class NothingToRecommendError(GenRecError):
    """The request is well formed, but no answer fits it: nothing resolved, or too few items allowed."""

    exit_code = 3
    code = "nothing"


class ModelMissingError(GenRecError):
    """The model is not on this machine; the hint is the command that brings it."""

    exit_code = 4
    code = "model-missing"


class ModelInvalidError(GenRecError):
    """The model file is damaged, of an unsupported kind, or not the file its manifest describes."""

    exit_code = 5
    code = "model-invalid"


class CatalogError(GenRecError):
    """The catalog is not one of ours, is damaged, or is empty."""

    exit_code = 6
    code = "catalog-invalid"


class OutOfMemoryError(GenRecError):
    """The model and its context do not fit into memory."""

    exit_code = 7
    code = "out-of-memory"


class DiskFullError(GenRecError):
    """The disk has no room for what has to be written."""

    exit_code = 8
    code = "disk-full"


class EngineError(GenRecError):
    """The inference engine failed although the model and the request are valid."""

    exit_code = 9
    code = "engine"


class LockedError(GenRecError):
    """Another process holds the model store, the catalog or the index for too long."""

    exit_code = 11
    code = "locked"


class OfflineError(GenRecError):
    """Something has to be fetched, and the network is forbidden or refused."""

    exit_code = 12
    code = "offline"


class MissingExtraError(GenRecError):
    """A command needs an optional part of the package that is not installed."""

    exit_code = 13
    code = "missing-extra"


class DeadlineError(GenRecError):
    """The request took longer than the caller allowed."""

    exit_code = 10
    code = "timeout"


class VerificationError(GenRecError):
    """A converted model is not the one that was meant: its tokenizer, its logits or its answers differ."""

    exit_code = 14
    code = "verification"


class DiskError(GenRecError):
    """A disk failed to read or write, full or not: neither the caller nor the program can help it."""

    exit_code = 15
    code = "disk"


class DatasetError(GenRecError):
    """A data set, a prior or the profiles are damaged, or not what their card or our registry describes."""

    exit_code = 16
    code = "dataset-invalid"


class CancelledError(GenRecError):
    """The caller cancelled the running request."""

    exit_code = 130
    code = "cancelled"


def several(findings: Sequence[str], *, most: int, separator: str = "; ") -> str:
    """Return findings as one text: the first `most` of them, and how many there are beside."""
    more = len(findings) - most
    return separator.join(findings[:most]) + (f"{separator.replace(',', '')}and {more} more" if more > 0 else "")
