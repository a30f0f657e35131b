"""The collection of templates."""

from __future__ import annotations

from collections import Counter

from genrec_edge.convert.training.data.templates import TEMPLATES


def test_the_templates_are_counted_as_in_the_paper_and_have_what_their_cells_say() -> None:
    assert Counter(template.kind for template in TEMPLATES) == {"preference": 17, "intention": 9, "combined": 13}
    assert len({template.text for template in TEMPLATES}) == 39
    for template in TEMPLATES:
        slots = {name for name in ("history", "preference", "intention", "candidates", "item", "first", "second")
                 if f"{{{name}}}" in template.text}  # fmt: skip
        assert ("history" in slots) == ("P1" in template.preference)
        assert ("preference" in slots) == ("P2" in template.preference)
        assert template.has_query == (template.intention != "I0")
        assert ("candidates" in slots) == (template.task == "T3")
        assert (template.answer == "verdict") == (template.task == "T0")
        assert (template.answer == "pick") == (template.task == "T1") == ({"first", "second"} <= slots)
        for line in template.text.split("\n"):
            for name in ("history", "candidates", "item", "first", "second"):
                assert f"{{{name}}}" not in line or line == f"{{{name}}}"
