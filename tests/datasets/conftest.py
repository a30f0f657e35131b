"""Locks and data sets of these tests go to a temporary folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_home(own_home: Path) -> None:
    """Locks and data sets go to a temporary folder."""
