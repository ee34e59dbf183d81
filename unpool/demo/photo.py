"""Read the picture of the demo: any file that Pillow can decode, as RGB cells that fit the figure."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.cbook import get_sample_data
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageOps, UnidentifiedImageError

Array = np.ndarray[Any, np.dtype[Any]]

ROOM = (359, 431)  # width and height of a picture in the figure, in pixels
LEAST = 7  # cells of a side, which pool to 3, and then to 1
SIDE = 40  # cells of the side of the square to enlarge


class Photo(NamedTuple):
    """RGB cells with a title, and the square to enlarge, whose corner is the corner of a window at both levels."""

    title: str
    cells: Array
    left: int
    top: int
    side: int = SIDE
    file: str = ""


def default() -> Photo:
    """Return the photograph of Grace Hopper, by the US Navy, in the public domain; the square is an eye."""
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        cells = np.asarray(image)[8:439, 86:445]
    return Photo(
        f"Grace Hopper, the photograph that comes with Matplotlib, {size(cells)} pixels of it", cells, 112, 160
    )


def read(name: str) -> Photo:
    """Read a file as a picture that the figure has room for; both of its sizes are 3 modulo 4.

    Raises
    ------
    ValueError
        If the file cannot be read, is not a picture, or has too few pixels along a side.
    """
    try:
        content = Path(name).read_bytes()
    except OSError as error:
        raise _unreadable_file(name, error) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large picture, or of metadata that is not read here
            with Image.open(io.BytesIO(content)) as image:
                whole = _rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # each decoder has its own exceptions
        raise _not_a_picture(name, error) from None
    scale = min(1.0, *(room / old for room, old in zip(ROOM, whole.size, strict=True)))
    width, height = (round(old * scale) for old in whole.size)
    if min(width, height) < LEAST:
        raise _too_few_pixels(name, whole.size, (width, height))
    reduced = whole.resize((width, height), Image.Resampling.LANCZOS) if scale < 1 else whole
    cells = _cropped(np.asarray(reduced))
    title = f"{name!r}, {whole.width} x {whole.height} pixels"
    if scale < 1:
        title += f", reduced to {width} x {height}"
    if cells.shape[:2] != (height, width):
        title += f", cropped to {size(cells)}"
    side = min(SIDE, *(cells.shape[axis] // 4 * 4 for axis in (0, 1)))
    return Photo(title, cells, *_detailed(cells, side), side, name)


def size(picture: Array) -> str:
    """Return width x height of a picture, or of a batch of pictures, with the channels last."""
    return f"{picture.shape[-2]} x {picture.shape[-3]}"


def _rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB; what is transparent becomes white."""
    if image.mode.startswith(("I", "F")):  # Pillow's own conversion would clip at 255
        image = Image.fromarray(_bytes(np.asarray(image), image.mode))
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _bytes(cells: Array, mode: str) -> Array:
    """Map 0 to 65535 to one byte, or the least to the largest value where it is floating or has more bits."""
    cells = np.nan_to_num(cells.astype("float64"), posinf=0, neginf=0)
    low, high = float(cells.min()), float(cells.max())
    if mode != "F" and low >= 0 and high < 2**16:
        low, high = 0.0, 2.0**16 - 1
    return np.round((cells - low) / ((high - low) or 1) * 255).astype("uint8")


def _cropped(cells: Array) -> Array:
    """Crop at most 3 cells along each side, half of them before, so that both sizes are 3 modulo 4."""
    for axis in (0, 1):
        surplus = (cells.shape[axis] - 3) % 4
        cells = cells.take(range(surplus // 2, cells.shape[axis] - surplus + surplus // 2), axis)
    return cells


def _detailed(cells: Array, side: int) -> tuple[int, int]:
    """Return left and top of the square whose neighbours differ most; of equal ones, the square nearest the centre."""
    grey = cells.mean(axis=-1)
    change = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    rows, columns = (count // 4 for count in grey.shape)
    blocks = change[: rows * 4, : columns * 4].reshape(rows, 4, columns, 4).sum(axis=(1, 3))
    detail = sliding_window_view(blocks, (side // 4, side // 4)).sum(axis=(2, 3)).round(6)
    top, left = (np.abs(2 * np.arange(count) - (count - 1)) for count in detail.shape)
    first = np.lexsort(((top[:, np.newaxis] + left).ravel(), -detail.ravel()))[0]
    row, column = divmod(int(first), detail.shape[1])
    return column * 4, row * 4


# --- messages ---------------------------------------------------------------------------------------------------------


def _unreadable_file(name: str, error: OSError) -> ValueError:
    return ValueError(
        f"must be a file that can be read, got {name!r} ({error.strerror or error}): pass the path of a picture"
    )


def _not_a_picture(name: str, error: Exception) -> ValueError:
    reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else str(error) or repr(error)
    return ValueError(
        f"must be a picture that Pillow can decode, got {name!r} ({reason}): pass a PNG, JPEG, TIFF or WebP file"
    )


def _too_few_pixels(name: str, whole: tuple[int, int], reduced: tuple[int, int]) -> ValueError:
    found = f"{whole[0]} x {whole[1]} pixels in {name!r}"
    if reduced == whole:
        advice = "pass a larger one"
    else:
        found += f", {reduced[0]} x {reduced[1]} when it is reduced to fit {ROOM[0]} x {ROOM[1]}"
        advice = "cut out a part that is less narrow"
    return ValueError(f"must be at least {LEAST} pixels wide and high, got {found}: {advice}")
