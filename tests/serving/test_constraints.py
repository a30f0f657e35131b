"""What may be answered: conditions, seen and excluded items, candidates, biases, and the order of a history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import NothingToRecommendError
from genrec_edge.records import Fact, Interaction, Item
from tests.support.recommenders import NOISE, ids, scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genrec_edge import Recommender


def test_where_keeps_what_fits_the_condition(recommender: Recommender, items_by_id: Mapping[str, Item]) -> None:
    comedies = {i for i, film in items_by_id.items() if "Comedy" in str(film.columns["genres"]).split(", ")}
    fitting = {i for i in comedies if (items_by_id[i].year or 0) >= 1990}
    result = recommender.recommend(["Jaws"], k=len(fitting), where="genre = 'Comedy' AND year >= 1990")
    assert set(ids(result)) == fitting
    best = recommender.recommend(["Jaws"], k=60 - 1).items  # masks prune and do not change a score
    assert scores(result) == [r.score for r in best if r.item.id in fitting]


def test_exclude_by_id_and_by_title(recommender: Recommender) -> None:
    all_ids = ids(recommender.recommend(k=5))
    by_id = recommender.recommend(k=5, exclude=all_ids[:2])
    assert ids(by_id)[:3] == all_ids[2:]
    assert set(ids(by_id)).isdisjoint(all_ids[:2])
    assert "005" not in ids(recommender.recommend(k=59, exclude=["Aliens"]))


@pytest.mark.slow
def test_excluding_a_film_excludes_its_double(recommender: Recommender) -> None:
    assert {"010", "011"}.isdisjoint(ids(recommender.recommend(k=58, exclude=["Hamlet (1990)"])))
    assert {"002", "003"}.isdisjoint(ids(recommender.recommend(k=58, exclude=["003"])))


def test_candidates_are_the_only_answers(recommender: Recommender) -> None:
    result = recommender.recommend(["Jaws"], k=3, candidates=["Alien", "005", "Heat (1986)"])
    assert set(ids(result)) == {"004", "005", "008"}


@pytest.mark.parametrize("option", ["exclude", "candidates"])
def test_an_unknown_item_to_exclude_or_choose_is_an_error(recommender: Recommender, option: str) -> None:
    with pytest.raises(NothingToRecommendError, match="no such film at all"):
        recommender.recommend(k=1, **{option: ["Alien", "no such film at all"]})  # type: ignore[arg-type]
    with pytest.raises(NothingToRecommendError, match="Heat"):  # two films of that name
        recommender.recommend(k=1, **{option: ["Heat"]})  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_message_about_many_unknown_items_is_short(recommender: Recommender) -> None:
    with pytest.raises(NothingToRecommendError) as error:
        recommender.recommend(k=1, exclude=[f"no such film {i} {'x' * 1000}" for i in range(1000)])
    assert "'no such film 0 xxx" in error.value.message
    assert error.value.message.endswith("and 995 more")
    assert len(error.value.message) < 600


@pytest.mark.slow
def test_seen_items_come_back_only_when_allowed(recommender: Recommender) -> None:
    seen = ["Hamlet (1990)", "Alien"]
    assert {"004", "010", "011"}.isdisjoint(ids(recommender.recommend(seen, k=57)))
    assert {"004", "010", "011"} <= set(ids(recommender.recommend(seen, k=60, allow_seen=True)))


def test_low_ratings_are_seen_and_not_enjoyed(recommender: Recommender) -> None:
    history = [Interaction("Jaws", rating=4), Interaction("Psycho", rating=1), Interaction("Fargo")]
    result = recommender.recommend(history, k=58 - 1, min_rating=3)
    assert "Psycho" not in {r.item.title for r in result.items}
    liked_alone = recommender.recommend(["Jaws", "Fargo"], k=3, exclude=["Psycho"])
    assert ids(result)[:3] == ids(liked_alone)
    assert result.timings.prompt_tokens == liked_alone.timings.prompt_tokens
    assert len(result.resolved) == 3
    score_all = recommender.recommend(history, k=3)
    assert score_all.timings.prompt_tokens > result.timings.prompt_tokens


@pytest.mark.slow
def test_a_bias_is_added_to_the_score_and_the_search_stays_exact(recommender: Recommender) -> None:
    plain = recommender.recommend(["Jaws"], k=59)
    lift = plain.items[0].score - plain.items[-1].score + 1
    last = plain.items[-1].item.id
    lifted = recommender.recommend(["Jaws"], k=3, bias={last: lift})
    assert lifted.exact
    assert ids(lifted) == [last, *ids(plain)[:2]]
    assert lifted.items[0].bias == lift
    assert lifted.items[0].logprob == pytest.approx(plain.items[-1].logprob, abs=NOISE)
    sunk = recommender.recommend(["Jaws"], k=59, bias={plain.items[0].item.id: -1e6})
    assert ids(sunk)[-1] == plain.items[0].item.id


def test_a_bias_does_not_let_a_forbidden_item_in(recommender: Recommender) -> None:
    assert "004" not in ids(recommender.recommend(["Alien"], k=3, bias={"004": 1000.0}))


def test_timestamps_put_the_history_in_order(recommender: Recommender) -> None:
    shuffled = [
        Interaction("Fargo", timestamp=30),
        Interaction("Jaws", timestamp=10),
        Interaction("Psycho", timestamp=20),
    ]
    result = recommender.recommend(shuffled, k=5)
    assert [m.input for m in result.resolved] == ["Jaws", "Psycho", "Fargo"]
    assert scores(result) == [r.score for r in recommender.recommend(["Jaws", "Psycho", "Fargo"], k=5).items]
    as_given = [shuffled[0], Interaction("Jaws"), shuffled[2]]
    assert [m.input for m in recommender.recommend(as_given, k=1).resolved] == ["Fargo", "Jaws", "Psycho"]


def test_a_title_enters_the_prompt_once_where_it_was_seen_last(recommender: Recommender) -> None:
    repeated = recommender.recommend(["Jaws", "Psycho", "Jaws", "jaws"], k=5)
    assert len(repeated.resolved) == 4
    once = recommender.recommend(["Psycho", "Jaws"], k=5)
    assert repeated.timings.prompt_tokens == once.timings.prompt_tokens
    assert ids(repeated) == ids(once)
    assert ids(once) != ids(recommender.recommend(["Jaws", "Psycho"], k=5))  # else the order would not matter


def test_what_is_not_understood_is_reported_and_left_out(recommender: Recommender) -> None:
    result = recommender.recommend(["Jaws", "Heat", "no such film at all"], k=3)
    assert [(m.input, m.method) for m in result.unresolved] == [
        ("Heat", "ambiguous"),
        ("no such film at all", "none"),
    ]
    assert {item.id for item in result.unresolved[0].candidates} == {"007", "008"}
    assert ids(result) == ids(recommender.recommend(["Jaws"], k=3))


def test_what_was_decided_is_in_the_result(recommender: Recommender) -> None:
    given = Interaction("Heat (1995)", year=1986)
    result = recommender.recommend([given], k=3, exclude=["alien", "Jaws"], candidates=["Psycho", "fargo", "M"])
    assert [(m.item.year, m.note) for m in result.resolved if m.item is not None] == [
        (1986, "the year given beside it counts, 1986, not 1995")
    ]
    assert [(m.input, m.method) for m in result.named] == [
        ("Psycho", "exact"),
        ("fargo", "normalised"),
        ("M", "exact"),
        ("alien", "normalised"),
        ("Jaws", "exact"),
    ]
    ranked = recommender.rerank(["fargo", "Heat", "no such film at all"], ["Jaws"])
    assert [m.input for m in ranked.named] == ["fargo"]
    assert [(m.input, m.method) for m in ranked.left_out] == [("Heat", "ambiguous"), ("no such film at all", "none")]


def test_what_could_be_several_items_is_asked_and_never_said_to_be_absent(recommender: Recommender) -> None:
    with pytest.raises(NothingToRecommendError, match="for sure") as error:
        recommender.recommend(["Heat"], k=3)
    assert "'Heat' (Heat (1995) or (1986)?)" in error.value.message
    assert error.value.hint == "give its year"
    with pytest.raises(NothingToRecommendError, match=r"exclude what is not surely .*'Heat' \(Heat \(1995\) or"):
        recommender.recommend(["Jaws"], k=3, exclude=["Heat"])


def test_nothing_understood_is_nothing_to_recommend(recommender: Recommender) -> None:
    with pytest.raises(NothingToRecommendError, match="none of the 2 titles") as error:
        recommender.recommend(["no such film", "nor this one"], k=3)
    assert "genrec-edge resolve" in error.value.hint


def test_more_than_is_allowed_says_how_many_are(recommender: Recommender) -> None:
    with pytest.raises(NothingToRecommendError, match="61 items asked for, 60 allowed"):
        recommender.recommend(k=61)
    with pytest.raises(NothingToRecommendError) as error:
        recommender.recommend(["Alien", "Aliens"], k=3, where="title LIKE 'Alien%'")
    assert "3 items asked for, 1 allowed: of 60 items 3 fit the conditions, 2 of them" in error.value.message
    assert "`k` to at most 1" in error.value.hint
    with pytest.raises(NothingToRecommendError, match="1 items asked for, 0 allowed"):
        recommender.recommend(k=1, where="year > 3000")


def test_an_intention_narrows_the_answer_and_is_loosened_in_sight(twelve_films: Recommender) -> None:
    result = twelve_films.recommend(("Jaws",), k=2, intent="war, directed by Ann Bee")
    assert result.reading is not None
    assert result.where == " AND ".join(result.reading.parts)
    assert result.loosened == ()
    wanted = {Fact("genres", "War"), Fact("director", "Ann Bee")}
    assert all(wanted <= set(f) for f in twelve_films.session.facts.of([r.item.row for r in result.items]))
    more = twelve_films.recommend(("Jaws",), k=4, intent="war, directed by Ann Bee, in the 1970s", where="year < 1990")
    assert more.loosened
    assert set(more.loosened) < set(more.reading.parts if more.reading else ())
    assert more.where is not None
    assert more.where.startswith("(year < 1990)")
    assert all((r.item.year or 0) < 1990 for r in more.items)
    assert twelve_films.recommend(("Jaws",), k=9, intent="war", intent_where=False).where is None
    with pytest.raises(NothingToRecommendError):  # the user's own condition is never given up
        twelve_films.recommend(("Jaws",), k=9, intent="war", where="year < 1980")
