from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen3d.language.words import is_word, text_words, tokens, without_accents


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a café table", ["a", "café", "table"]),
        ("a red-eyed frog, 3.5 m", ["a", "red-eyed", "frog", ",", "3.5", "m"]),
        ("a doll’s house", ["a", "doll's", "house"]),
        ("rock 'n' roll", ["rock", "'", "n", "'", "roll"]),
        ("椅子、机", ["椅子", "、", "机"]),
        ("कुर्सी लाल", ["कुर्सी", "लाल"]),
        ("کتاب‌خانه", ["کتاب‌خانه"]),
        ("a cat🐱.", ["a", "cat", "🐱", "."]),
        ("1,200 birds", ["1,200", "birds"]),
        ("-- a - b", ["-", "-", "a", "-", "b"]),
        ("", []),
    ],
)
def test_words_of_any_script_survive(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@given(st.text())
def test_no_letter_is_lost(text: str) -> None:
    letters = "".join(char for char in text.replace("’", "'") if char.isalnum())
    assert "".join(char for token in tokens(text) for char in token if char.isalnum()) == letters
    assert all(token and (is_word(token) or len(token) == 1) for token in tokens(text))


def test_accents_are_dropped_where_that_is_asked() -> None:
    assert without_accents("Café crème, smörgåsbord, 椅子") == "Cafe creme, smorgasbord, 椅子"


def test_the_words_of_the_packaged_models_stay_as_they_were() -> None:
    """Token ids, and so weights, depend on them."""
    assert text_words("A Café's 3D-chair, 椅子!") == ["a", "cafes", "3d", "chair"]
