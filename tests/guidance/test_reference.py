"""Reference images that other people made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from gen3d.errors import UsageError
from gen3d.guidance.reference import MAX_SIDE, load_reference


def test_an_image_is_made_square_with_what_is_behind(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 2), (255, 0, 0, 51)).save(tmp_path / "a.png")
    reference = load_reference(str(tmp_path / "a.png"))
    assert reference.masked
    assert reference.pixels.shape == (4, 4, 4)
    assert torch.allclose(reference.pixels[1, 0], torch.tensor([0.2, 0, 0, 0.2]))  # colours times alpha
    assert not reference.pixels[0].any()
    Image.new("RGB", (2, 4), (0, 255, 0)).save(tmp_path / "b.png")
    opaque = load_reference(str(tmp_path / "b.png"))
    assert not opaque.masked
    assert opaque.pixels[:, 0].tolist() == [[1, 1, 1, 1]] * 4
    assert opaque.pixels[:, 1].tolist() == [[0, 1, 0, 1]] * 4


def test_a_long_strip_is_shrunk_before_it_is_made_square(tmp_path: Path) -> None:
    """Else 16,384 x 512 pixels, a file of 16 kB, would become a square of 4 GB."""
    strip = Image.new("RGB", (4 * MAX_SIDE, 512), (0, 0, 255))
    strip.save(tmp_path / "wide.png")
    pixels = load_reference(str(tmp_path / "wide.png")).pixels
    assert pixels.shape == (MAX_SIDE, MAX_SIDE, 4)
    drawn = (pixels[..., :3] == torch.tensor([0.0, 0.0, 1.0])).all(-1).sum(0)
    assert drawn.unique().tolist() == [512 // 4]


def test_images_of_too_many_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("1", (65_000, 300)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="65000 x 300 pixels"):
        load_reference(str(tmp_path / "a.png"))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    with pytest.raises(UsageError, match=r"a\.png cannot be read"):
        load_reference(str(tmp_path / "a.png"))
    with pytest.raises(UsageError, match=r"none\.png does not exist"):
        load_reference(str(tmp_path / "none.png"))
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "b.png")
    with pytest.raises(UsageError, match="transparent everywhere"):
        load_reference(str(tmp_path / "b.png"))
