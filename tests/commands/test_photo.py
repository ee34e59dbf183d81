"""The demo reads a picture of the user: any that Pillow decodes, as RGB cells of odd sizes that fit the figure."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needs import require
from processes import python

require("matplotlib", "it brings Pillow, which reads pictures")

from PIL import Image  # noqa: E402

from unpool.demo.photo import LEAST, ROOM, default, read  # noqa: E402

RED, WHITE = (255, 0, 0), (255, 255, 255)


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "unpool", "demo", *arguments)


def saved(folder: Path, image: Image.Image, name: str, **options: Any) -> str:
    image.save(folder / name, **options)
    return str(folder / name)


def gradient() -> np.ndarray[Any, Any]:
    """Return 11 rows of 15 grey levels."""
    return np.arange(165, dtype="uint8").reshape(11, 15)


def grey(levels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.repeat(levels[..., np.newaxis], 3, axis=-1)


class TestColours:
    """Every kind of picture becomes RGB of 8 bits. The expected cells are written down, not converted."""

    def test_grey_levels(self, tmp_path: Path) -> None:
        for name in ("grey.png", "grey.tif"):
            found = read(saved(tmp_path, Image.fromarray(gradient()), name)).cells
            np.testing.assert_array_equal(found, grey(gradient()))

    @pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
    def test_16_bits(self, name: str, tmp_path: Path) -> None:
        deep = Image.fromarray(gradient().astype("uint16") * 257)
        np.testing.assert_array_equal(read(saved(tmp_path, deep, name)).cells, grey(gradient()))

    @pytest.mark.parametrize("dtype", ["float32", "int32"])
    def test_numbers_without_a_range_are_stretched(self, dtype: str, tmp_path: Path) -> None:
        numbers = gradient().astype(dtype) * 1000 - 5
        found = read(saved(tmp_path, Image.fromarray(numbers), "numbers.tif")).cells
        np.testing.assert_array_equal(found, grey(np.round(gradient() / 164 * 255).astype("uint8")))

    def test_numbers_that_are_not_finite(self, tmp_path: Path) -> None:
        numbers = np.full((7, 7), np.nan, "float32")
        numbers[0, 0] = np.inf
        assert not read(saved(tmp_path, Image.fromarray(numbers), "nan.tif")).cells.any()

    def test_transparent_is_white(self, tmp_path: Path) -> None:
        image = Image.new("RGBA", (7, 7), (*RED, 255))
        image.putpixel((2, 1), (*RED, 0))
        expected = np.full((7, 7, 3), RED)
        expected[1, 2] = WHITE
        np.testing.assert_array_equal(read(saved(tmp_path, image, "rgba.png")).cells, expected)

    @pytest.mark.parametrize("name", ["palette.png", "palette.gif"])
    def test_a_palette(self, name: str, tmp_path: Path) -> None:
        image = Image.new("P", (7, 7), 1)
        image.putpalette([0, 0, 0, *RED])
        image.putpixel((2, 1), 0)
        expected = np.full((7, 7, 3), RED)
        expected[1, 2] = 0
        np.testing.assert_array_equal(read(saved(tmp_path, image, name)).cells, expected)
        expected[1, 2] = WHITE
        np.testing.assert_array_equal(read(saved(tmp_path, image, name, transparency=0)).cells, expected)

    def test_other_kinds(self, tmp_path: Path) -> None:
        for mode, colour, name in (
            ("1", 1, "bits.png"),
            ("LA", (255, 255), "la.png"),
            ("CMYK", (0, 0, 0, 0), "cmyk.jpg"),
        ):
            assert (read(saved(tmp_path, Image.new(mode, (7, 7), colour), name)).cells == 255).all(), mode

    def test_a_turned_photograph_is_upright(self, tmp_path: Path) -> None:
        """An orientation of 6 says that the right side of the stored picture is the top."""
        exif = Image.Exif()
        exif[0x0112] = 6
        found = read(saved(tmp_path, Image.fromarray(gradient()), "turned.png", exif=exif)).cells
        np.testing.assert_array_equal(found, grey(np.rot90(gradient(), -1)))


class TestSizes:
    @pytest.mark.parametrize(
        ("whole", "expected"),
        [
            ((7, 7), (7, 7)),
            ((10, 8), (7, 7)),
            ((12, 14), (11, 11)),
            (ROOM, ROOM),
            ((718, 862), ROOM),
            ((6000, 4000), (359, 239)),  # reduced to 359 x 239
            ((400, 4000), (43, 431)),
        ],
    )
    def test_width_and_height(self, whole: tuple[int, int], expected: tuple[int, int], tmp_path: Path) -> None:
        """The figure's room, and then at most 3 cells less, so that both levels are odd."""
        found = read(saved(tmp_path, Image.new("L", whole), "any.png"))
        height, width = found.cells.shape[:2]
        assert (width, height) == expected
        assert width % 4 == height % 4 == 3
        assert f"{whole[0]} x {whole[1]} pixels" in found.title
        assert ("reduced to" in found.title) == (whole[0] > ROOM[0] or whole[1] > ROOM[1])
        # The title ends with the size of the cells, however it came about.
        assert found.title.removesuffix(" pixels").endswith(f" {width} x {height}")

    def test_cropped_alike_on_both_sides(self, tmp_path: Path) -> None:
        levels = np.arange(100, dtype="uint8").reshape(10, 10)
        found = read(saved(tmp_path, Image.fromarray(levels), "ten.png")).cells
        np.testing.assert_array_equal(found, grey(levels[1:8, 1:8]))

    def test_the_default(self) -> None:
        assert default().cells.shape == (431, 359, 3)


class TestSquare:
    def test_where_cells_differ_most(self, tmp_path: Path) -> None:
        levels = np.zeros((103, 203), "uint8")
        levels[64:84:2, 120:140:2] = 255  # 20 x 20 cells of dots
        photo = read(saved(tmp_path, Image.fromarray(levels), "dots.png"))
        assert photo.side == 40
        assert photo.top <= 64 <= 84 <= photo.top + 40
        assert photo.left <= 120 <= 140 <= photo.left + 40

    @pytest.mark.parametrize("size", [(7, 7), (11, 43), (359, 11), (203, 103)])
    def test_of_a_plain_picture_it_is_in_the_middle(self, size: tuple[int, int], tmp_path: Path) -> None:
        photo = read(saved(tmp_path, Image.new("L", size), "plain.png"))
        assert photo.side == min(40, min(size) // 4 * 4)
        for corner, cells in ((photo.left, size[0]), (photo.top, size[1])):
            assert corner % 4 == 0
            assert 0 <= corner <= cells - photo.side
            assert abs(corner + photo.side / 2 - cells / 2) <= 4


class TestRefused:
    @pytest.mark.parametrize(
        ("size", "found", "advice"),
        [
            ((5, 5), "5 x 5 pixels in 'any.png'", "pass a larger one"),
            ((6, 400), "6 x 400 pixels in 'any.png'", "pass a larger one"),
            (
                (37, 4000),
                "37 x 4000 pixels in 'any.png', 4 x 431 when it is reduced to fit 359 x 431",
                "cut out a part that is less narrow",
            ),
        ],
    )
    def test_too_few_pixels(
        self, size: tuple[int, int], found: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        saved(tmp_path, Image.new("RGB", size), "any.png")
        with pytest.raises(ValueError, match="must be") as caught:
            read("any.png")
        assert str(caught.value) == f"must be at least {LEAST} pixels wide and high, got {found}: {advice}"

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
    def test_no_picture(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"must be a picture that Pillow can decode, got .*x\.png' \(.+\): pass a"):
            read(str(tmp_path / "x.png"))

    def test_a_part_of_a_picture(self, tmp_path: Path) -> None:
        file = Path(saved(tmp_path, Image.effect_noise((99, 99), 50), "x.png"))
        file.write_bytes(file.read_bytes()[:500])
        with pytest.raises(ValueError, match="must be a picture that Pillow can decode"):
            read(str(file))

    @pytest.mark.parametrize("name", ["missing.png", ".", ""])
    def test_no_file(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=r"must be a file that can be read, got .* \(.+\): pass the path of a pic"):
            read(name)

    def test_before_any_work(self, tmp_path: Path) -> None:
        result = demo("missing.png", "-o", str(tmp_path / "x.png"))
        assert (result.returncode, result.stdout) == (2, "")
        assert "argument IMAGE: must be a file that can be read, got 'missing.png' (No such file" in result.stderr
        assert not (tmp_path / "x.png").exists()

    @pytest.mark.parametrize("name", ["x.png", "./x.png", "link.png"])
    def test_its_own_picture_is_not_written_over(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        saved(tmp_path, Image.effect_noise((99, 99), 50), "x.png")
        Path("link.png").symlink_to("x.png")
        before = Path("x.png").read_bytes()
        result = demo("x.png", "-o", name)
        assert (result.returncode, result.stdout) == (2, "")
        named = str(Path(name))
        assert (
            f"argument -o/--output: must be a different file from IMAGE, got {named!r} for both: pass" in result.stderr
        )
        assert Path("x.png").read_bytes() == before


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "start"),
        [
            ("x.png", b"\x89PNG"),
            ("x.svg", b"<?xml"),
            ("x.pdf", b"%PDF"),
            ("x.jpg", b"\xff\xd8"),
            ("x.JPEG", b"\xff\xd8"),
        ],
    )
    def test_by_the_name(self, name: str, start: bytes, tmp_path: Path) -> None:
        image = saved(tmp_path, Image.effect_noise((120, 60), 80), "noise.png")
        result = demo(image, "-o", str(tmp_path / name))
        assert result.returncode == 0, result.stderr
        assert f"{image!r}, 120 x 60 pixels, cropped to 119 x 59\n" in result.stdout
        assert "  119 x 59\n" in result.stdout
        assert f"Picture written to {tmp_path / name}" in result.stdout
        assert (tmp_path / name).read_bytes().startswith(start)

    @pytest.mark.parametrize("name", ["x", "x.gif", ".png", "x.png.bak"])
    def test_an_unknown_ending(self, name: str, tmp_path: Path) -> None:
        result = demo("-o", str(tmp_path / name))
        assert (result.returncode, result.stdout) == (2, "")
        assert (
            f"argument -o/--output: must end in one of .png, .svg, .pdf, .jpg, .jpeg, got {str(tmp_path / name)!r}"
        ) in result.stderr
        assert list(tmp_path.iterdir()) == []
