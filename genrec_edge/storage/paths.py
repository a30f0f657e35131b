"""Where files are kept: models, data sets, catalogs and profiles in the user's data folder, caches in the cache folder.

`GENREC_EDGE_HOME` moves everything into one folder; `GENREC_EDGE_MODELS`, `GENREC_EDGE_DATASETS`,
`GENREC_EDGE_CATALOGS`, `GENREC_EDGE_PROFILES` (a file) and `GENREC_EDGE_CACHE` move one part. Creates nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

_APP = "genrec-edge"


def _folder(variable: str, below_home: str, default: Path) -> Path:
    if value := os.environ.get(variable):
        return Path(value).expanduser()
    if home := os.environ.get("GENREC_EDGE_HOME"):
        return Path(home).expanduser() / below_home
    return default


def models_path() -> Path:
    """The folder of the model store."""
    return _folder("GENREC_EDGE_MODELS", "models", platformdirs.user_data_path(_APP) / "models")


def catalogs_path() -> Path:
    """The folder of the catalog that comes with the package, which is built on first use."""
    return _folder("GENREC_EDGE_CATALOGS", "catalogs", platformdirs.user_data_path(_APP) / "catalogs")


def datasets_path() -> Path:
    """The folder of data sets of interactions."""
    return _folder("GENREC_EDGE_DATASETS", "datasets", platformdirs.user_data_path(_APP) / "datasets")


def profiles_path() -> Path:
    """The file of user profiles."""
    return _folder("GENREC_EDGE_PROFILES", "profiles.db", platformdirs.user_data_path(_APP) / "profiles.db")


def cache_path() -> Path:
    """The folder of title tries and evaluated prompts; everything in it can be made again."""
    return _folder("GENREC_EDGE_CACHE", "cache", platformdirs.user_cache_path(_APP))


def prompts_path() -> Path:
    """The folder of evaluated prompts."""
    return cache_path() / "prompts"


def keeps_prompts() -> bool:
    """Whether the command line keeps evaluated prompts (`GENREC_EDGE_KEEP_PROMPTS` is not 0)."""
    return os.environ.get("GENREC_EDGE_KEEP_PROMPTS", "") != "0"


def offline() -> bool:
    """Whether the environment forbids the network (`GENREC_EDGE_OFFLINE` set to anything but 0 or empty)."""
    return os.environ.get("GENREC_EDGE_OFFLINE", "") not in {"", "0"}
