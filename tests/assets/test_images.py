from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from gen3d.assets.images import GAP, LABEL_HEIGHT, contact_sheet, to_uint8, write_png, write_video
from gen3d.errors import Gen3DError


def test_to_uint8_rounds_clips_and_survives_nan() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5, 0.999, 1.0, 7.0, float("nan"), float("inf")])
    assert to_uint8(values).tolist() == [0, 0, 128, 255, 255, 255, 0, 255]
    assert to_uint8(np.array([3, 200], np.uint8)).tolist() == [3, 200]
    with pytest.raises(ValueError, match="int64"):
        to_uint8(np.array([1, 2]))


def test_contact_sheet_places_every_image() -> None:
    images = np.stack([np.full((6, 8, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)])
    sheet = contact_sheet(images, 3)
    assert sheet.shape == (2 * (6 + GAP) + GAP, 3 * (8 + GAP) + GAP, 3)
    for index, value in enumerate((10, 20, 30, 40, 50)):
        y, x = GAP + index // 3 * (6 + GAP), GAP + index % 3 * (8 + GAP)
        assert (sheet[y : y + 6, x : x + 8] == value).all()
        assert (sheet[y : y + 6, x + 8 : x + 8 + GAP] == 255).all()


def test_contact_sheet_labels() -> None:
    images = torch.zeros(2, 20, 30, 3)
    sheet = contact_sheet(images, 2, labels=["a", "a very long label\nthat does not fit"])
    assert sheet.shape[0] == 20 + GAP + LABEL_HEIGHT + GAP
    below = sheet[GAP + 20 :]
    first, gap, second = below[:, GAP : GAP + 30], below[:, GAP + 30 : 2 * GAP + 30], below[:, 2 * GAP + 30 :]
    assert first.min() < 128
    assert second.min() < 128
    assert gap.min() == 255
    with pytest.raises(ValueError, match="1 labels for 2 images"):
        contact_sheet(images, 2, labels=["a"])
    with pytest.raises(ValueError, match="needs images"):
        contact_sheet(torch.zeros(0, 4, 4, 3), 2)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_png_round_trip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels / np.float32(255))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels.squeeze())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_video_holds_the_frames(tmp_path: Path) -> None:
    colors = np.array([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.5, 0.5, 0.5]])
    frames = [torch.tensor(color).expand(65, 81, 3) for color in colors]
    write_video(tmp_path / "a.mp4", frames, fps=12)
    back = iio.imread(tmp_path / "a.mp4", plugin="FFMPEG")
    assert back.shape == (4, 64, 80, 3)
    np.testing.assert_allclose(back.mean((1, 2)) / 255, colors, atol=0.04)
    metadata = iio.immeta(tmp_path / "a.mp4", plugin="FFMPEG")
    assert metadata["codec"] == "h264"
    assert metadata["pix_fmt"].startswith("yuv420p")
    assert metadata["fps"] == 12
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_video_refusals_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "a.mp4", [], fps=12)
    with pytest.raises(ValueError, match="A frame has the shape"):
        write_video(tmp_path / "a.mp4", [torch.zeros(8, 8, 3), torch.zeros(10, 8, 3)], fps=12)
    with pytest.raises(Gen3DError, match="ffmpeg"):
        write_video(tmp_path / "missing" / "a.mp4", [torch.zeros(64, 64, 3)] * 40, fps=12)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(Gen3DError, match="ffmpeg"):
        write_video(tmp_path / "a.mp4", [torch.zeros(8, 8, 3)], fps=12)
    assert not list(tmp_path.iterdir())
