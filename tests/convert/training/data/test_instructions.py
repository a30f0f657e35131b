"""Windows told in words: what is said, what is learned of it, what the teacher says; and the data as text."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.convert.training.data.export_jsonl import write_instructions
from genrec_edge.convert.training.data.fill_template import fill_template
from genrec_edge.convert.training.data.instructions import FORMS, InstructionSampler
from genrec_edge.convert.training.data.sequences import PickPiece, TitlesPiece, VerdictPiece, WordsPiece
from genrec_edge.convert.training.data.templates import TEMPLATES
from genrec_edge.convert.training.data.windows import Window, WindowSampler
from genrec_edge.convert.training.recipe import FORM_NAMES
from genrec_edge.datasets.intent_phrases import VAGUE_PHRASES
from genrec_edge.datasets.item_facts import ItemFacts
from genrec_edge.decoding import prompts
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.training.data.sequences import Example

N_ITEMS = 30
GENRES = ("Comedy", "Drama", "Horror")


def facts_of(item: int) -> tuple[Fact, ...]:
    genre, director = GENRES[item % 3], f"Director {'ABCDE'[item % 5]}"
    decade = ("1980s", "1990s")[item % 2]
    return (Fact("genres", genre), Fact("director", director), Fact("decade", decade))


HISTORIES = [np.arange(start, start + 18) % N_ITEMS for start in range(12)]
ITEM_FACTS = ItemFacts([facts_of(item) for item in range(N_ITEMS)], HISTORIES)
WINDOW = Window(3, (3, 4, 5, 6, 7, 8), tuple(range(9, 21)))


def drawn(form: str, n: int = 200) -> list[Example]:
    found = [FORMS[form](WINDOW, ITEM_FACTS, np.random.default_rng(i)) for i in range(n)]
    return [example for example in found if example is not None]


def said(example: Example) -> dict[str, str]:
    lines = [piece.line for piece in example.pieces if isinstance(piece, WordsPiece)]
    return {line.mark: line.text for line in lines}


def learned(example: Example) -> list[TitlesPiece]:
    return [piece for piece in example.pieces if isinstance(piece, TitlesPiece) and piece.is_target]


def asks_for(words: str) -> set[int]:
    """Return the items that have all facts of a specific intention, found in the words alone."""
    wanted = words.split(", ")
    return {i for i in range(N_ITEMS) if all(any(f.value == w for f in facts_of(i)) for w in wanted)}


def test_the_forms_are_those_a_recipe_knows() -> None:
    assert tuple(FORMS) == FORM_NAMES


@pytest.mark.parametrize("form", FORM_NAMES)
def test_every_form_tells_things_of_its_user_and_learns_something(form: str) -> None:
    examples = drawn(form)
    assert len(examples) > 150
    for example in examples:
        assert set(example.history) <= set(HISTORIES[3].tolist())
        kinds = {type(piece) for piece in example.pieces}
        words = [piece for piece in example.pieces if isinstance(piece, WordsPiece) and piece.target]
        assert example.n_targets or words or kinds & {VerdictPiece, PickPiece}
        assert (example.positive is not None) == bool(kinds & {VerdictPiece, PickPiece})
        if example.positive is not None:
            assert example.positive not in example.history


def test_a_search_tells_of_nobody_and_is_answered_by_what_fits() -> None:
    for example in drawn("search"):
        (named,) = learned(example)
        assert example.before == ()
        assert named.matches is not None
        assert all(named.matches[item] for item in named.items)
        words = said(example)[prompts.WANTED]
        vague = [genre for genre, sentences in VAGUE_PHRASES.items() if words in sentences]
        truth = asks_for(words if not vague else vague[0])
        assert set(np.flatnonzero(named.matches).tolist()) == truth


def test_a_personal_search_comes_after_what_is_told_and_a_taste_before_it() -> None:
    seen = Counter[str]()
    for example in drawn("personal"):
        *before, wanted, answer = example.pieces
        assert isinstance(wanted, WordsPiece)
        assert wanted.line.mark == prompts.WANTED
        assert isinstance(answer, TitlesPiece)
        assert set(answer.items) <= set(WINDOW.items)
        told_of = {item for piece in before if isinstance(piece, TitlesPiece) for item in piece.items}
        assert told_of.isdisjoint(answer.items)
        assert set(example.before) | told_of <= set(range(3, 21))
        seen["taste" if prompts.TASTE in said(example) else "no taste"] += 1
        seen["titles" if told_of else "no titles"] += 1
        assert prompts.TASTE in said(example) or told_of
    assert min(seen.values()) > 5


def test_a_profile_is_that_of_what_came_before() -> None:
    for example in drawn("taste"):
        assert said(example) == {prompts.TASTE: ITEM_FACTS.profile(example.before)}
        assert (*example.before, *learned(example)[0].items) == (*WINDOW.before, *WINDOW.items)


def test_verdicts_are_of_what_comes_next_and_of_strangers() -> None:
    answers = Counter[bool]()
    for example in drawn("judge"):
        verdicts = [piece for piece in example.pieces if isinstance(piece, VerdictPiece)]
        assert 1 <= len(verdicts) <= 3
        for verdict in verdicts:
            answers[verdict.is_positive] += 1
            assert (verdict.item in HISTORIES[3]) == verdict.is_positive
            assert verdict.item not in example.history
    assert 0.4 < answers[True] / answers.total() < 0.6


def test_pairs_have_the_better_one_first_as_often_as_second() -> None:
    first = Counter[bool]()
    for example in drawn("compare"):
        for pick in (piece for piece in example.pieces if isinstance(piece, PickPiece)):
            met, other = (pick.first, pick.second) if pick.is_first else (pick.second, pick.first)
            assert met in HISTORIES[3]
            assert other not in HISTORIES[3]
            first[pick.is_first] += 1
    assert 0.4 < first[True] / first.total() < 0.6


def test_words_are_learned_of_histories_and_of_items() -> None:
    for example in drawn("describe"):
        (words,) = (piece for piece in example.pieces if isinstance(piece, WordsPiece))
        given, rest = learned(example)
        assert words.line == prompts.PromptLine(prompts.TASTE, is_open=True)
        assert words.target == ITEM_FACTS.profile(given.items)
        assert (*given.items, *rest.items) == WINDOW.items
    for example in drawn("queries"):
        asked_of = [piece.items[0] for piece in example.pieces if isinstance(piece, TitlesPiece)]
        queries = [piece.target for piece in example.pieces if isinstance(piece, WordsPiece) and piece.target]
        assert all(item in asks_for(query) for item, query in zip(asked_of, queries, strict=True))


def test_the_same_step_has_the_same_examples_and_forms_come_as_often_as_asked_for() -> None:
    instructor = InstructionSampler(ITEM_FACTS, {"history": 3.0, "queries": 1.0}, seed=0)
    assert repr(instructor.examples([WINDOW] * 4, 5)) == repr(instructor.examples([WINDOW] * 4, 5))
    found = [e for step in range(200) for e in instructor.examples([WINDOW] * 4, step)]
    share = sum(example.n_targets == 0 for example in found) / len(found)
    assert share == pytest.approx(0.25, abs=0.05)


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


def test_an_honest_intention_knows_nothing_of_the_target() -> None:
    template = next(t for t in TEMPLATES if t.cell == "P1,I2,T2" and t.answer == "title")
    fitting = Counter[bool]()
    for i in range(300):
        oracle = fill_template(template, WINDOW, ITEM_FACTS, np.random.default_rng(i))
        honest = fill_template(template, WINDOW, ITEM_FACTS, np.random.default_rng(i), intent_from_history=True)
        assert oracle is not None
        assert honest is not None
        for example, is_honest in ((oracle, False), (honest, True)):
            (target,) = learned(example)[-1].items
            words = next(m for m in said(example) if m.startswith("they search for ")).removeprefix("they search for ")
            fits = target in asks_for(words)
            assert fits or is_honest
            if is_honest:
                fitting[fits] += 1
                typical = ITEM_FACTS.most_typical(learned(example)[0].items)
                assert typical in asks_for(words)
    assert fitting[True] < 0.5 * fitting.total()


def test_the_most_typical_item_has_most_in_common_with_the_others() -> None:
    assert ITEM_FACTS.most_typical([4, 0, 6, 12]) == 12  # 0, 6 and 12 are comedies of one decade: the latest of them
    assert ITEM_FACTS.most_typical([12, 6, 0, 4]) == 0


def test_instances_are_text_with_every_template_and_both_sources(tmp_path: Path) -> None:
    path, titles = tmp_path / "instances.jsonl", [f"Film {i}" for i in range(N_ITEMS)]
    sampler = WindowSampler(HISTORIES, window=12, seed=0)
    told_of: list[tuple[int, int]] = []
    counts = write_instructions(
        path,
        sampler,
        ITEM_FACTS,
        titles,
        n=390,
        seed=0,
        on_instruction=lambda done, total: told_of.append((done, total)),
    )
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == sum(counts.values()) == 390
    assert told_of[-1] == (390, 390)
    assert Counter(row["template"] for row in rows) == dict.fromkeys(range(39), 10)
    for row in rows:
        template = TEMPLATES[row["template"]]
        assert row["cell"] == template.cell
        assert "{" not in row["instruction"] + row["output"]
        assert row["source"] in (
            {"target", "history"} if template.allows_history_intent else {"target"} if template.has_query else {""}
        )
        if template.answer == "title":
            assert row["output"] in titles
        if template.task == "T3":
            assert row["output"] in row["instruction"].split("\n")
        if template.answer == "verdict":
            assert row["output"] in {"yes", "no"}
        if template.answer == "query":
            item = next(line for line in row["instruction"].split("\n") if line in titles)
            assert titles.index(item) in asks_for(row["output"])
    both = Counter(row["source"] for row in rows if TEMPLATES[row["template"]].allows_history_intent)
    assert both["target"] == both["history"]
    again = tmp_path / "again.jsonl"
    write_instructions(again, sampler, ITEM_FACTS, titles, n=390, seed=0)
    assert again.read_bytes() == path.read_bytes()
