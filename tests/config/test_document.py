"""Every setting is explained, in the terminal and on a page that is current."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gen3d.config.document import allowed, default_of, describe, meaning_of, page
from gen3d.config.schema import all_sections, all_settings
from gen3d.config.section import Setting
from gen3d.errors import UsageError

REPOSITORY = Path(__file__).parents[2]
SETTINGS = list(all_settings().values())


def test_the_committed_page_is_current(tmp_path: Path) -> None:
    committed = (REPOSITORY / "docs" / "configuration.md").read_text("utf-8")
    assert committed == page(), "run 'python -m gen3d.config.document'"
    command = [sys.executable, "-m", "gen3d.config.document", str(tmp_path / "page.md")]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    assert (tmp_path / "page.md").read_text("utf-8") == committed


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_is_explained_in_whole_sentences(setting: Setting) -> None:
    text = meaning_of(setting)
    assert len(text) > 20
    assert re.match(r"[A-Z0-9]", text), text
    assert text.endswith("."), text
    assert not re.match(r"(Of|As|The same)\b", text), "a reader may start at this line"
    assert "`" + setting.key + "`" in page()
    if setting.bounds:
        assert f"{setting.bounds.high:,}" in allowed(setting)
    for choice in setting.choices:
        assert choice in allowed(setting)
        assert setting.key in ("representation", "code.rule", "diffusion.rule") or f"'{choice}'" in text, (
            "not explained"
        )


def test_every_section_is_explained() -> None:
    for key, section in all_sections().items():
        assert section.__doc__
        assert f"## {key}\n\n{section.__doc__.strip().splitlines()[0]}"[:60] in page()


@pytest.mark.parametrize(
    ("key", "words", "default"),
    [
        ("splats.count", "a whole number from 1 to 1,000,000", "12000"),
        ("code.weight_final", "a number from 0 to 1,000, or null", "null"),
        ("appearance.color", "a list of 3 numbers, each from 0 to 1", "[1.0, 1.0, 1.0]"),
        ("optimization.later_views", "a list of whole numbers, each from 1 to 256", "[]"),
        ("diffusion.models", "a list of texts", "[]"),
        ("start.kind", "one of prior, retrieve, text2shape, clipforge, sphere, box, blob", '"prior"'),
        ("export.viewer", "true or false", "true"),
        ("prompt", "text", '""'),
        ("optimization.elevation_min", "a number from -90 to 90", "-10.0"),
    ],
)
def test_what_a_setting_may_be_is_said_in_words(key: str, words: str, default: str) -> None:
    assert allowed(all_settings()[key]) == words
    assert default_of(all_settings()[key]) == default


def test_a_field_that_is_declared_again_keeps_its_text_or_has_its_own() -> None:
    assert meaning_of(all_settings()["sdf.samples"]) == meaning_of(all_settings()["nerf.samples"])
    assert meaning_of(all_settings()["voxels.solid"]) != meaning_of(all_settings()["nerf.solid"])


def test_a_section_a_key_or_a_last_name_is_described() -> None:
    overview = describe(None)
    assert all(re.search(rf"^  {key} +[A-Z3].*\.$", overview, re.MULTILINE) for key in all_sections())
    assert "seed=0\n    A whole number from 0 to 9,223,372,036,854,775,807." in overview
    assert "optimization.steps" not in overview
    splats = describe("splats", width=72)
    assert splats.startswith("3D Gaussians (3DGS, Kerbl et al. 2023)")
    assert splats.count("\nsplats.") == sum(key.startswith("splats.") for key in all_settings())
    assert max(map(len, splats.splitlines())) <= 72
    assert describe("steps") == describe("optimization.steps")
    assert describe("weight").count(".weight=") == 7
    with pytest.raises(
        UsageError, match=r"named 'splats\.cuont'\. Did you mean 'splats\.count'\? 'gen3d config' lists"
    ):
        describe("splats.cuont")
