"""Sentences as words: keys, gaps and the ends of phrases."""

from __future__ import annotations

from genrec_edge.intents.lexicon import MAX_CHARACTERS, Sentence, key_of, words_of


def test_words_have_keys_gaps_and_places() -> None:
    text = "Amélie & co.: a sci-fi, set in L.A. (1994)"
    words = words_of(text)
    assert [word.key for word in words] == ["amelie", "and", "co", "a", "sci", "fi", "set", "in", "l", "a", "1994"]
    assert [word.gap for word in words] == ["", " ", " ", ",", " ", "-", ",", " ", " ", " ", ","]
    assert [text[word.start : word.end] for word in words[:3]] == ["Amélie", "&", "co"]
    assert [word.key for word in words if word.is_capital] == ["amelie", "l", "a"]


def test_a_genitive_is_left_out_and_a_quotation_ends_a_phrase() -> None:
    assert [word.key for word in words_of("Hitchcock's 'Vertigo' the '90s")] == ["hitchcock", "vertigo", "the", "90s"]
    assert words_of("Vertigo' the")[1].gap == ","
    assert words_of("the '90s")[1].gap == " "
    assert key_of("O'Hara & Söhne") == "ohara and sohne"


def test_a_sentence_is_empty_beyond_its_ends() -> None:
    sentence = Sentence("a comedy, please")
    assert len(sentence) == 3
    assert [sentence.key(i) for i in range(-1, 4)] == ["", "a", "comedy", "please", ""]
    assert [sentence.before(i) for i in range(5)] == ["", "a", "", "please", ""]  # a comma begins a phrase
    assert [sentence.ends_at(i) for i in range(4)] == [False, False, True, True]
    assert sentence.keys(0, 2) == "a comedy"
    assert len(Sentence("x " * MAX_CHARACTERS)) == MAX_CHARACTERS // 2
