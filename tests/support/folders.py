"""Where the tests find the checkout and their data."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
DATA = ROOT / "tests" / "data"
TRICKY_CSV = DATA / "tricky.csv"
"""60 titles hard to tell apart, to spell or to tokenise."""
