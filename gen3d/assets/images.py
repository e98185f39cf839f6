"""Pictures and videos of a run."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.runtime.files import replacing

GAP = 4
LABEL_HEIGHT = 18
BACKGROUND = 255


def to_uint8(image: Tensor | np.ndarray) -> np.ndarray:
    """The values of an image of any shape as uint8: [0, 1] becomes 0..255, rounded; not-a-number becomes 0.

    uint8 input is returned as it is. Raises ValueError for other integer types, whose range is unknown.
    """
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"An image of the type {array.dtype} has no known range; use uint8, or floats in [0, 1].")
    return np.round(np.clip(np.nan_to_num(array.astype(np.float32), nan=0.0), 0, 1) * 255).astype(np.uint8)


def contact_sheet(
    images: Tensor | np.ndarray | Sequence[np.ndarray], columns: int, labels: Sequence[str] | None = None
) -> np.ndarray:
    """Images [N, H, W, 3] in rows of `columns`, on white, each with its label below; uint8 [rows, columns, 3].

    Labels that are wider than their image are cut. Raises ValueError without images or with too few labels.
    """
    tiles = to_uint8(images if isinstance(images, Tensor) else np.asarray(images))
    if tiles.ndim != 4 or tiles.shape[-1] != 3 or not len(tiles) or columns < 1:
        raise ValueError(f"A contact sheet needs images [N, H, W, 3] and at least one column, not {tiles.shape}.")
    if labels is not None and len(labels) != len(tiles):
        raise ValueError(f"There are {len(labels)} labels for {len(tiles)} images.")
    count, height, width = tiles.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    step_y, step_x = height + GAP + (LABEL_HEIGHT if labels else 0), width + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), (BACKGROUND,) * 3)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, tile in enumerate(tiles):
        x, y = GAP + index % columns * step_x, GAP + index // columns * step_y
        sheet.paste(Image.fromarray(tile), (x, y))
        if labels:
            draw.text((x, y + height + 2), _fit(draw, font, labels[index], width), fill=(40, 40, 40), font=font)
    return np.asarray(sheet)


def write_png(path: str | Path, image: Tensor | np.ndarray) -> None:
    """Writes an image [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (floats in [0, 1] or uint8)."""
    content = png_bytes(image)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def png_bytes(image: Tensor | np.ndarray) -> bytes:
    """The content of the file that `write_png` writes."""
    pixels = to_uint8(image)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def write_video(path: str | Path, frames: Iterable[Tensor | np.ndarray], fps: float) -> None:
    """Writes frames [H, W, 3] of one size (floats in [0, 1] or uint8) as H.264 that every browser plays.

    Odd sizes lose their last row or column, which yuv420p cannot hold. Raises Gen3DError where ffmpeg is missing or
    fails, ValueError without frames or with frames of several sizes.
    """
    _find_ffmpeg()
    writer, size = None, (0, 0)
    with replacing(path) as temporary:
        try:
            for frame in frames:
                pixels = to_uint8(frame)
                pixels = np.ascontiguousarray(pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2])
                if writer is None:
                    size = pixels.shape[:2]
                    writer = _open_writer(temporary, size, fps)
                if pixels.shape != (*size, 3):
                    raise ValueError(f"A frame has the shape {pixels.shape}, where {(*size, 3)} is needed.")
                writer.send(pixels)
        except OSError as error:
            raise Gen3DError(f"ffmpeg could not write the video {path}: {error}.") from None
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise ValueError("A video needs at least one frame.")
        if not temporary.is_file() or not temporary.stat().st_size:
            raise Gen3DError(f"ffmpeg wrote no video to {path}: check the free space, or set IMAGEIO_FFMPEG_EXE.")


def _open_writer(path: Path, size: tuple[int, int], fps: float) -> Generator[None, np.ndarray | None, None]:
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (size[1], size[0]),
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        macro_block_size=2,
        ffmpeg_log_level="error",
        # The moov atom first, so that a browser can begin before it has the whole file.
        output_params=["-crf", "18", "-preset", "medium", "-threads", "2", "-movflags", "+faststart", "-f", "mp4"],
    )
    writer.send(None)
    return writer


def _find_ffmpeg() -> None:
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise Gen3DError(
            "No ffmpeg was found, so the video cannot be written: install ffmpeg or `imageio[ffmpeg]`, "
            "or point IMAGEIO_FFMPEG_EXE at one."
        ) from None


def _fit(draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, text: str, width: int) -> str:
    """`text` on one line, cut so that it is at most `width` pixels wide."""
    text = " ".join(text.split())
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"
