"""Lists of prompts in the formats in which people keep them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gen3d.errors import UsageError
from gen3d.language.prompts import load_prompt_list

PROMPTS = ["a red chair", "a blue vase"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("library.json", '{\n  "dreamfusion": [\n    "a red chair",\n    "a blue vase"\n  ]\n}\n'),
        ("library.txt", '{"dreamfusion": ["a red chair"], "more": ["a blue vase"]}'),
        ("list.json", '["a red chair", "a blue vase"]'),
        ("objects.json", '[{"prompt": "a red chair", "seed": 1}, {"id": 2, "text": "a blue vase"}]'),
        ("lines.jsonl", '{"caption": "a red chair"}\n\n"a blue vase"\n'),
        ("lines.ndjson", '{"text": "a red chair", "prompt": "a red chair"}\n{"prompt": "a blue vase"}\n'),
        ("table.csv", "id,prompt\n1,a red chair\n2,a blue vase\n"),
        ("table.csv", '\ufeffPrompt\n"a red chair"\n\n"a blue vase"\n'),
        ("table.csv", "a red chair\na blue vase\n"),
        ("table.tsv", "seed\tcaption\r\n3\ta red chair\r\n4\ta blue vase\r\n"),
        ("PROMPTS.TXT", "# two\na red chair\n\n  a blue vase\n"),
        ("prompts", "a red chair\na blue vase"),
    ],
)
def test_known_formats_are_read_as_what_they_are(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    assert load_prompt_list(path) == PROMPTS


def test_the_library_of_threestudio_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "prompt_library.json"
    path.write_text(json.dumps({"dreamfusion": ["a chair", "a  cat "], "magic3d": ["a vase"]}))
    assert load_prompt_list(path) == ["a chair", "a cat", "a vase"]


def test_cells_may_hold_commas_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text('prompt,n\n"a small, round\ntable",1\n')
    assert load_prompt_list(path) == ["a small, round table"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "prompts: [a chair]", r"is a '\.yaml' file.*goes to 'gen3d batch'"),
        ("a.xlsx", "PK", r"is a '\.xlsx' file, but prompts are read from \.txt, \.text, \.json, .*\.csv"),
        ("a.md", "- a chair", r"is a '\.md' file"),
        ("a.json", '["a chair"', "the file is not JSON"),
        ("a.json", '"a chair"', "holds a text as a whole where a list of prompts should be"),
        ("a.json", '{"a": {"b": ["a chair"]}}', "holds an object of 'a' where a list"),
        ("a.json", '{"x": ["a chair", 3]}', "prompt 2 of 'x': This is a number, not a prompt"),
        ("a.json", '[{"name": "a chair"}]', "prompt 1: This is an object, not a prompt"),
        ("a.json", '["a chair", ""]', "prompt 2: The prompt is empty"),
        ("a.json", "[]", "holds no prompt"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.jsonl", '"a chair"\na vase\n', "line 2 is not JSON"),
        ("a.jsonl", "null\n", "line 1: This is nothing, not a prompt"),
        ("a.txt", 'a chair\n{"prompt": "a vase"}\n', r"line 2: This is JSON, not a prompt: name the file \.json or"),
        ("a.csv", "id,name\n1,a chair\n", "has 2 columns and none is called 'prompt'"),
        ("a.csv", "id,prompt\n1\n", "line 2: The row has 1 columns"),
        ("a.csv", 'prompt\n"a chair', "cannot be read"),
        ("a.csv", "prompt\n" + "x" * 1001, "line 2: The prompt has 1001 characters"),
    ],
)
def test_other_formats_and_broken_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=message):
        load_prompt_list(path)
