"""Whether the texts of a column are lists, and what separates their values: the column decides, not one comma."""

from __future__ import annotations

from collections import Counter

SEPARATORS = ("|", ";", ",")

_SURE = frozenset({"genre", "genres", "tag", "tags", "keyword", "keywords"})
_PLURAL = frozenset({"cast", "actors", "directors", "writers", "countries", "languages", "categories"})
_SINGULAR = frozenset({"actor", "director", "writer", "country", "language", "category"})
LIST_NAMES = _SURE | _PLURAL | _SINGULAR
"""Names of columns that usually hold lists, in lower case and without punctuation."""

_MAX_KEPT = 20_000
"""Different texts of a column that are compared with each other."""
_MIN_SHARE = 0.5


class ListEvidence:
    """Takes in the texts of a column whose name is usual for lists, or that is said to hold them.

    "|" and ";" hardly occur in a single value. A comma does: "Korea, South", "Yuen, Woo-ping". It separates the values
    of genres, tags and keywords. In other columns it does if at least half of the texts that have one show it: two
    commas, or a part that stands first in one text, or alone, and further back in another. Where the name of the column
    is a plural, it is enough that half of all texts have a comma.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._counts: Counter[str] = Counter()
        self._texts: dict[str, None] = {}
        self._n_texts = 0

    def see(self, text: str) -> None:
        """Take in a text."""
        self._n_texts += 1
        for separator in SEPARATORS:
            if separator in text:
                self._counts[separator] += 1
                break
        if len(self._texts) < _MAX_KEPT:
            self._texts[text] = None

    def separator(self) -> tuple[str | None, str]:
        """Return what separates values, None for single values; and the decision in words, if it was close."""
        if not self._counts:
            return None, ""
        separator = self.likeliest()
        if separator != "," or self._name in _SURE:
            return separator, ""
        with_comma = [text.split(",") for text in self._texts if "," in text and "|" not in text and ";" not in text]
        n_commas = self._counts[","]
        share_of_all = len(with_comma) / max(len(self._texts), 1)
        is_list = self._share_that_show_it(with_comma) >= _MIN_SHARE or (
            self._name in _PLURAL and share_of_all >= _MIN_SHARE
        )
        if is_list:
            return ",", "a comma separates its values"
        return None, f"single values, though {n_commas:,} of {self._n_texts:,} have a comma"

    def likeliest(self) -> str | None:
        """Return the separator that most texts have, None if none has any."""
        return max(SEPARATORS, key=self._counts.__getitem__) if self._counts else None

    def _share_that_show_it(self, with_comma: list[list[str]]) -> float:
        first = {parts[0].strip().casefold() for parts in (text.split(",") for text in self._texts)}
        later = {part.strip().casefold() for parts in with_comma for part in parts[1:]}
        showing = 0
        for parts in with_comma:
            head, *rest = (part.strip().casefold() for part in parts)
            showing += len(rest) > 1 or head in later or not first.isdisjoint(rest)
        return showing / len(with_comma) if with_comma else 0.0
