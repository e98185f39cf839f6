from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.errors import Gen3DError
from gen3d.language.words import text_words

CAPTIONS = ["a red chair", "a chair", "a desk lamp", "a lamp", "a desk", "a snow man", "snow", "man", "a wooden horse"]
TOKENIZER = WordTokenizer.build(CAPTIONS, context_length=12, required=["red", "blue"])


def test_words_are_lower_case_and_plain():
    assert text_words("A Café's 3D-chair!") == ["a", "cafes", "3d", "chair"]


def test_frequent_and_required_words_are_one_token():
    assert TOKENIZER.words_to_tokens("a blue chair") == ["a", "blue", "chair"]
    assert TOKENIZER.words_to_tokens("wooden")[0].startswith("^")  # seen once only


def test_plurals_and_compounds_keep_their_known_words():
    assert TOKENIZER.words_to_tokens("chairs") == ["chair", "##s"]
    assert TOKENIZER.words_to_tokens("deskchair") == ["desk", "chair"]


def test_unseen_words_differ_from_each_other():
    assert not torch.equal(TOKENIZER(["zebra"]), TOKENIZER(["giraffe"]))


@given(st.text(max_size=300))
def test_any_text_ends_with_the_highest_id(text: str):
    ids = TOKENIZER([text])[0]
    assert ids.shape == (12,)
    assert ids[0] == 1
    assert ids.max() == TOKENIZER.end == TOKENIZER.vocab_size - 1
    end = int(ids.argmax())
    assert (ids[end + 1 :] == 0).all()
    assert (ids[:end] > 0).all()
    assert torch.equal(ids, TOKENIZER([text])[0])


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=30))
def test_pieces_spell_the_word(word: str):
    pieces = TOKENIZER._pieces(word)
    assert "".join(piece.lstrip("^#") for piece in pieces) == word


def test_splitting_is_random_but_repeatable():
    plain = TOKENIZER(["a red chair"])
    split = TOKENIZER.encode(["a red chair"], 1.0, torch.Generator().manual_seed(0))
    again = TOKENIZER.encode(["a red chair"], 0.5, torch.Generator().manual_seed(3))
    assert not torch.equal(plain, split)
    assert torch.equal(again, TOKENIZER.encode(["a red chair"], 0.5, torch.Generator().manual_seed(3)))
    with pytest.raises(ValueError, match=r"explicit torch\.Generator"):
        TOKENIZER.encode(["a chair"], 0.5)


def test_building_does_not_depend_on_the_order_of_captions():
    assert WordTokenizer.build(CAPTIONS[::-1], 12, required=["red", "blue"]).tokens == TOKENIZER.tokens


def test_round_trip_and_damage(tmp_path):
    TOKENIZER.save(tmp_path / "vocab.json")
    loaded = WordTokenizer.load(tmp_path / "vocab.json")
    assert loaded.tokens == TOKENIZER.tokens
    assert loaded.context_length == 12
    (tmp_path / "vocab.json").write_text('{"tokens": [1, 2], "context_length": 12}')
    with pytest.raises(Gen3DError, match="cannot be read"):
        WordTokenizer.load(tmp_path / "vocab.json")
    with pytest.raises(Gen3DError, match="cannot be read"):
        WordTokenizer.load(tmp_path / "missing.json")


@pytest.mark.parametrize("length", ["1e400", "99999999999", "12.5", "true", "2", '"12"', "[]"])
def test_a_context_that_is_no_number_of_tokens_is_refused(tmp_path, length: str):
    TOKENIZER.save(tmp_path / "vocab.json")
    text = (tmp_path / "vocab.json").read_text()
    (tmp_path / "vocab.json").write_text(text.replace('"context_length": 12', f'"context_length": {length}'))
    with pytest.raises(Gen3DError, match=r"cannot be read \(.*(context|not finite)"):
        WordTokenizer.load(tmp_path / "vocab.json")
