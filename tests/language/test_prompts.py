from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen3d.errors import UsageError
from gen3d.language.prompts import MAX_LIST_BYTES, MAX_PROMPT_LENGTH, check_prompt, load_prompt_list
from gen3d.runtime.files import MAX_SLUG_LENGTH, slugify

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@given(st.text(alphabet=st.characters(), max_size=300))
def test_slug_is_a_safe_file_name(prompt: str) -> None:
    slug = slugify(prompt)
    assert SLUG.fullmatch(slug)
    assert len(slug) <= MAX_SLUG_LENGTH
    assert slugify(slug) == slug


@pytest.mark.parametrize(
    ("prompt", "slug"),
    [
        ("A red  Chair!", "a-red-chair"),
        ("../../x", "x"),
        ("C:\\windows\\..", "c-windows"),
        ("café crème", "cafe-creme"),
        ("con", "con-prompt"),
        ("word " * 20, "-".join(["word"] * 12)),
        ("x" * 80, "x" * 60),
    ],
)
def test_slug_of_known_prompts(prompt: str, slug: str) -> None:
    assert slugify(prompt) == slug


def test_prompts_without_ascii_stay_apart() -> None:
    assert slugify("椅子") != slugify("机")


@given(st.text(max_size=200))
def test_checked_prompt_is_stable(text: str) -> None:
    try:
        prompt = check_prompt(text)
    except UsageError:
        return
    assert prompt == " ".join(prompt.split())
    assert check_prompt(prompt) == prompt


def test_white_space_is_normalised() -> None:
    assert check_prompt("\u3000a\u00a0 wooden\n\tchair\ufeff ") == "a wooden chair"
    assert check_prompt("cafe\u0301") == "café"


@pytest.mark.parametrize("text", ["", "  \n", "\u200b", "\u200d", "\u0301", "\u3000"])
def test_empty_prompts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="prompt is empty"):
        check_prompt(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\x1b[31mchair", r"control character U\+001B"),
        ("a\x00chair", r"control character U\+0000"),
        ("a \udcff chair", "not valid UTF-8"),
        ("x" * (MAX_PROMPT_LENGTH + 1), "has 1001 characters"),
    ],
)
def test_bad_prompts_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_prompt(text)


def test_prompt_list_skips_comments(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# objects\na chair\n\n  a vase \n", "utf-8")
    assert load_prompt_list(path) == ["a chair", "a vase"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"# nothing\n", "holds no prompt"),
        (b"a chair\na \x07 bell\n", "line 2: The prompt contains"),
        (b"a chair\n\xff\xfe\n", r"not UTF-8 text \(line 2\)"),
        (b"a chair\n" * (MAX_LIST_BYTES // 8 + 1), "larger than 64,000,000 bytes"),
    ],
)
def test_bad_prompt_lists_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        load_prompt_list(path)


def test_missing_prompt_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.txt does not exist"):
        load_prompt_list(tmp_path / "nowhere.txt")
    with pytest.raises(UsageError, match="is not a file"):
        load_prompt_list(tmp_path)
