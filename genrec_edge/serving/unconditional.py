"""The log-probability of every title of a catalog after an empty history: computed once, kept beside the trie."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.errors import DiskError, DiskFullError
from genrec_edge.storage.files import atomic_write, open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_ROUNDING = 1e-6
"""A log-probability above it is none."""


def load(
    folder: Path,
    model: Mapping[str, str | None],
    catalog: str,
    n_items: int,
    compute: Callable[[], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return the log-probability of each title, (n_items,), from the cache if it is that of this model and catalog.

    Args:
        folder: where the cache is; a file for each model.
        model: what the log-probabilities depend on, but for the catalog.
        catalog: its revision.
        n_items: of the index.
        compute: called if there is no file that can be used. If what it returns cannot be kept, a warning is logged.
    """
    identity = json.dumps(dict(model), sort_keys=True)
    path = folder / f"habits-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz"
    if (known := _read(path, catalog, n_items)) is not None:
        return known
    logprobs = compute()
    try:
        with atomic_write(path) as file:
            np.savez(file, logprobs=logprobs, catalog=np.array(catalog))
    except (OSError, DiskError, DiskFullError) as e:
        why = getattr(e, "strerror", None) or e
        log.warning("the calibration is not kept in %s, and is computed again at the next start: %s", folder, why)
    return logprobs


def _read(path: Path, catalog: str, n_items: int) -> NDArray[np.float64] | None:
    """Return what a file holds, or None if it cannot be used: it is a cache, and computing it again is the remedy."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as archive:
            logprobs, made_for = archive["logprobs"], str(archive["catalog"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as e:
        log.warning("the calibration in %s is damaged (%s); it is computed again", path, type(e).__name__)
        return None
    is_usable = made_for == catalog and logprobs.shape == (n_items,) and logprobs.dtype == np.float64
    return logprobs if is_usable and np.isfinite(logprobs).all() and logprobs.max(initial=0.0) < _ROUNDING else None
