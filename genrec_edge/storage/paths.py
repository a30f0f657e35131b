"""Where files are kept: models, data sets, catalogs and profiles in the user's data folder, caches in the cache folder.

`GENREC_EDGE_HOME` moves everything into one folder; `GENREC_EDGE_MODELS`, `GENREC_EDGE_DATASETS`,
`GENREC_EDGE_CATALOGS`, `GENREC_EDGE_PROFILES` (a file) and `GENREC_EDGE_CACHE` move one part. Creates nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_APP = "genrec-edge"


def _folder(variable: str, below_home: str, default: Callable[[], Path]) -> Path:
    """Return the place that the environment names, or the one that the system has for such files.

    Raises:
        UsageError: the environment names none, and the user has no home.
    """
    for name, below in ((variable, ""), ("GENREC_EDGE_HOME", below_home)):
        if value := os.environ.get(name):
            try:
                return Path(value).expanduser() / below
            except RuntimeError as e:
                raise UsageError(f"{name} is {value!r}, and there is no such home", hint="name a folder") from e
    try:
        return default()
    except RuntimeError as e:
        message = "there is no home to keep files in: HOME is not set"
        raise UsageError(message, hint="set GENREC_EDGE_HOME to a folder that can be written") from e


def models_path() -> Path:
    """The folder of the model store."""
    return _folder("GENREC_EDGE_MODELS", "models", lambda: platformdirs.user_data_path(_APP) / "models")


def catalogs_path() -> Path:
    """The folder of the catalog that comes with the package, which is built on first use."""
    return _folder("GENREC_EDGE_CATALOGS", "catalogs", lambda: platformdirs.user_data_path(_APP) / "catalogs")


def datasets_path() -> Path:
    """The folder of data sets of interactions."""
    return _folder("GENREC_EDGE_DATASETS", "datasets", lambda: platformdirs.user_data_path(_APP) / "datasets")


def profiles_path() -> Path:
    """The file of user profiles."""
    return _folder("GENREC_EDGE_PROFILES", "profiles.db", lambda: platformdirs.user_data_path(_APP) / "profiles.db")


def cache_path() -> Path:
    """The folder of title tries and evaluated prompts; everything in it can be made again."""
    return _folder("GENREC_EDGE_CACHE", "cache", lambda: platformdirs.user_cache_path(_APP))


def prompts_path() -> Path:
    """The folder of evaluated prompts."""
    return cache_path() / "prompts"


def keeps_prompts() -> bool:
    """Whether the command line keeps evaluated prompts (`GENREC_EDGE_KEEP_PROMPTS` is not 0)."""
    return os.environ.get("GENREC_EDGE_KEEP_PROMPTS", "") != "0"


def offline() -> bool:
    """Whether the environment forbids the network (`GENREC_EDGE_OFFLINE` set to anything but 0 or empty)."""
    return os.environ.get("GENREC_EDGE_OFFLINE", "") not in {"", "0"}
