"""Columns that help to find an item by its name, in any catalog that has them."""

from __future__ import annotations

OTHER_TITLES = frozenset(
    """
    aka akas alias aliases alsoknownas alternatetitle alternatetitles alternativetitle alternativetitles originaltitle
    originaltitles othertitle othertitles
    """.split()  # noqa: SIM905 - a list would have a line for each
)
"""Columns of other titles of an item, by their names in lower case and without punctuation."""
KNOWN = "known"
"""The column that says how well known an item is, 0 to 100."""
