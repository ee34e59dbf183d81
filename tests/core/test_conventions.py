"""Every conversion agrees with the definitions, computed one index at a time, and refuses impossible indices."""

import itertools
import math

import numpy as np
import pytest

import unpool

CONVENTIONS = ("plane", "tensorflow", "tensorflow_batch", "onnx", "onnx_column_major", "window")
WINDOWS = {
    "apart": {"kernel_size": (2, 3, 2), "stride": None, "padding": (0, 0, 0), "dilation": (1, 1, 1)},
    "overlapping": {"kernel_size": (3, 3, 4), "stride": (1, 2, 3), "padding": (1, 0, 2), "dilation": (1, 1, 1)},
    "dilated": {"kernel_size": (2, 3, 2), "stride": (2, 1, 1), "padding": (1, 1, 0), "dilation": (2, 2, 3)},
    "pairs": {"kernel_size": (3, 4, 3), "stride": (2, 1, 3), "padding": ((2, 0), (0, 3), 1), "dilation": (1, 1, 2)},
    "same": {"kernel_size": (2, 4, 3), "stride": (2, 3, 4), "padding": "same", "dilation": (1, 1, 2)},
    "same_lower": {"kernel_size": (2, 4, 3), "stride": (2, 3, 4), "padding": "same_lower", "dilation": (1, 1, 2)},
}


class Example:
    """Holds the same pooled indices in every convention; each names a random cell of its own window."""

    def __init__(self, rank, channels_last, window, dtype="int64"):
        generator = np.random.default_rng(rank)
        self.data_format = "channels_last" if channels_last else "channels_first"
        self.window = {name: value if isinstance(value, str | None) else value[:rank] for name, value in window.items()}
        kernel, stride, padding, dilation = self.window.values()
        stride = stride or kernel
        samples, channels, plane = 2, 3, (9, 8, 10)[:rank]
        pooled, before = [], []
        for axis, size in enumerate(plane):
            reach = dilation[axis] * (kernel[axis] - 1) + 1
            if isinstance(padding, str):  # as TensorFlow and ONNX define them
                added = max(0, (math.ceil(size / stride[axis]) - 1) * stride[axis] + reach - size)
                before.append(added // 2 if padding == "same" else math.ceil(added / 2))
            else:
                pair = padding[axis] if isinstance(padding[axis], tuple) else (padding[axis],) * 2
                added = sum(pair)
                before.append(pair[0])
            pooled.append((size + added - reach) // stride[axis] + 1)
        self.output_size = (samples, *plane, channels) if channels_last else (samples, channels, *plane)
        shape = (samples, *pooled, channels) if channels_last else (samples, channels, *pooled)
        self.indices = {convention: np.empty(shape, dtype) for convention in CONVENTIONS}
        for n, c, *at in itertools.product(range(samples), range(channels), *map(range, pooled)):
            place = (n, *at, c) if channels_last else (n, c, *at)
            inside = False
            while not inside:
                step = [int(generator.integers(length)) for length in kernel]
                cell = [
                    o * apart - pad + j * space
                    for o, apart, pad, j, space in zip(at, stride, before, step, dilation, strict=True)
                ]
                inside = all(0 <= coordinate < size for coordinate, size in zip(cell, plane, strict=True))
            flat, columns, offset, cells = 0, 0, 0, 1
            for axis in range(rank):
                flat = flat * plane[axis] + cell[axis]
                columns += cell[axis] * cells
                offset = offset * kernel[axis] + step[axis]
                cells *= plane[axis]
            self.indices["plane"][place] = flat
            self.indices["tensorflow"][place] = flat * channels + c
            self.indices["tensorflow_batch"][place] = (n * cells + flat) * channels + c
            self.indices["onnx"][place] = (n * channels + c) * cells + flat
            self.indices["onnx_column_major"][place] = (n * channels + c) * cells + columns
            self.indices["window"][place] = offset

    def convert(self, source, target, **window):
        return unpool.convert_indices(
            self.indices[source],
            source,
            target,
            output_size=self.output_size,
            data_format=self.data_format,
            **window,
        )


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("channels_last", [False, True], ids=["channels_first", "channels_last"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_pair_agrees_with_the_definitions(rank, channels_last, window):
    example = Example(rank, channels_last, WINDOWS[window])
    for source, target in itertools.product(CONVENTIONS, CONVENTIONS):
        before = example.indices[source].copy()
        found = example.convert(source, target, **example.window)
        np.testing.assert_array_equal(found, example.indices[target], err_msg=f"{source} to {target}")
        assert found.dtype == ("uint8" if target == "window" else "int64")
        # The result is a new array, also when the conventions are the same.
        assert not np.shares_memory(found, example.indices[source])
        np.testing.assert_array_equal(example.indices[source], before)


@pytest.mark.parametrize("channels_last", [False, True], ids=["channels_first", "channels_last"])
def test_only_windows_need_the_window(channels_last):
    example = Example(2, channels_last, WINDOWS["apart"])
    flat = CONVENTIONS[:-1]
    for source, target in itertools.product(flat, flat):
        np.testing.assert_array_equal(example.convert(source, target), example.indices[target])
    for other in CONVENTIONS:
        for source, target in ((other, "window"), ("window", other)):
            with pytest.raises(TypeError, match="`kernel_size` is needed"):
                example.convert(source, target)


def test_an_argument_of_the_window_may_be_one_integer():
    window = {"kernel_size": (3, 3, 3), "stride": (2, 2, 2), "padding": (1, 1, 1), "dilation": (1, 1, 1)}
    example = Example(2, False, window)
    found = example.convert("plane", "window", kernel_size=3, stride=2, padding=1)
    np.testing.assert_array_equal(found, example.indices["window"])


@pytest.mark.parametrize("padding", [1, "same", "same_lower", ((2, 0), (0, 1))], ids=str)
@pytest.mark.parametrize("size", [(7, 9), (8, 5)], ids=str)
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_what_pooling_returns_comes_back(data_format, size, padding):
    shape = (2, 3, *size) if data_format == "channels_first" else (2, *size, 3)
    x = np.random.default_rng(0).standard_normal(shape)
    window = {"kernel_size": 3, "stride": 2, "padding": padding}
    values, indices = unpool.max_pool2d(x, **window, return_indices=True, data_format=data_format)
    named = {"output_size": shape, "data_format": data_format, **window}
    for target in CONVENTIONS:
        there = unpool.convert_indices(indices, "plane", target, **named)
        back = unpool.convert_indices(there, target, "plane", **named)
        np.testing.assert_array_equal(back, indices)
    restored = unpool.max_unpool2d(values, back, **window, output_size=shape, data_format=data_format)
    assert np.isin(restored[restored != 0], x).all()


def test_where_a_window_starts_with_same_depends_on_the_size():
    """Three windows of 3 start at 0, 2 and 4 in 6 cells, and at -1, 1 and 3 in 5 cells.

    With "same_lower", they start at -1, 1 and 3 in both.
    """
    window = {"kernel_size": 3, "stride": 2}
    indices = np.array([[[1, 2, 4]]])
    for word, size, offsets in (
        ("same", 6, [1, 0, 0]),
        ("same", 5, [2, 1, 1]),
        ("same_lower", 6, [2, 1, 1]),
        ("same_lower", 5, [2, 1, 1]),
    ):
        found = unpool.convert_indices(indices, "plane", "window", **window, padding=word, output_size=(1, 1, size))
        assert found.tolist() == [[offsets]]


# --- by hand --------------------------------------------------------------------------------------------------------


def test_tensorflow_by_hand():
    """TensorFlow documents "(y * width + x) * channels + c", and "((b * height + y) * width + x) * channels + c"."""
    # Two images of 2 x 4 cells with 3 channels, pooled by 2 to 1 x 2. An entry is the cell (y, x) of the maximum.
    cells = {
        (0, 0): [(0, 1), (1, 0), (1, 1)],
        (0, 1): [(1, 2), (0, 3), (0, 2)],
        (1, 0): [(0, 0), (1, 1), (0, 1)],
        (1, 1): [(1, 3), (1, 2), (0, 3)],
    }
    plain = [[[[3, 13, 17], [18, 10, 8]]], [[[0, 16, 5], [21, 19, 11]]]]
    batch = [[[[3, 13, 17], [18, 10, 8]]], [[[24, 40, 29], [45, 43, 35]]]]
    plane = [[[[1, 4, 5], [6, 3, 2]]], [[[0, 5, 1], [7, 6, 3]]]]
    for (b, o), maxima in cells.items():
        for c, (y, x) in enumerate(maxima):
            assert plain[b][0][o][c] == (y * 4 + x) * 3 + c
            assert batch[b][0][o][c] == ((b * 2 + y) * 4 + x) * 3 + c
            assert plane[b][0][o][c] == y * 4 + x
    named = {"output_size": (2, 2, 4, 3), "data_format": "channels_last"}
    for source, indices in (("tensorflow", plain), ("tensorflow_batch", batch)):
        assert unpool.convert_indices(np.array(indices), source, "plane", **named).tolist() == plane
        assert unpool.convert_indices(np.array(plane), "plane", source, **named).tolist() == indices


def test_a_window_by_hand():
    """A 3 x 3 window starts one cell inside the padding, so its offset 4 is cell (0, 0)."""
    window = {"kernel_size": 3, "stride": 2, "padding": 1, "output_size": (1, 1, 3, 3)}
    indices = np.array([[[[4, 3], [1, 0]]]])
    plane = unpool.convert_indices(indices, "window", "plane", **window)
    assert plane.tolist() == [[[[0, 1], [3, 4]]]]


def test_columns_by_hand():
    indices = np.array([[[[0, 8, 20]]]])
    named = {"output_size": (1, 1, 4, 6), "kernel_size": (4, 2)}
    assert unpool.convert_indices(indices, "onnx_column_major", "plane", **named).tolist() == [[[[0, 2, 5]]]]


# --- dtypes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_positions_are_int64_unless_given_int32_that_suffices(dtype):
    example = Example(1, False, WINDOWS["apart"], dtype)
    for source, target in itertools.product(CONVENTIONS, CONVENTIONS):
        found = example.convert(source, target, **example.window)
        assert found.dtype == ("uint8" if target == "window" else "int32" if dtype == "int32" else "int64")
        np.testing.assert_array_equal(found, example.indices[target])


@pytest.mark.parametrize(
    ("target", "channels", "samples", "expected"),
    [
        ("plane", 2, 2, "int32"),
        ("tensorflow", 1, 2, "int32"),
        ("tensorflow", 2, 1, "int64"),
        ("tensorflow_batch", 1, 2, "int64"),
        ("onnx", 1, 1, "int32"),
        ("onnx", 1, 2, "int64"),
    ],
)
def test_int32_widens_where_the_largest_index_does_not_fit(target, channels, samples, expected):
    """The planes have 2**31 cells, and int32 just holds the index of the last one."""
    last = 2**31 - 1
    indices = np.full((samples, channels, 1, 1), last, "int32")
    named = {"output_size": (samples, channels, 2**16, 2**15)}
    found = unpool.convert_indices(indices, "plane", target, **named)
    assert found.dtype == expected
    assert (found >= last).all()
    np.testing.assert_array_equal(unpool.convert_indices(found, target, "plane", **named), indices)


def test_taps_have_the_smallest_dtype_that_holds_those_of_a_window():
    """Cell 0 is tap 34999 * 70000 + 34999, because the window begins that far before the plane."""
    window = {"kernel_size": 70000, "stride": 1, "padding": "same", "output_size": (1, 1, 4, 4)}
    cells = np.arange(16, dtype="int32").reshape(1, 1, 4, 4)
    taps = unpool.convert_indices(0 * cells, "plane", "window", **window)
    assert taps.dtype == "int64"
    assert taps[0, 0, 0, 0] == 34999 * 70000 + 34999
    assert taps[0, 0, 3, 3] == 34996 * 70000 + 34996
    back = unpool.convert_indices(taps, "window", "plane", **window)
    np.testing.assert_array_equal(back, 0 * cells)
    small = unpool.convert_indices(cells, "plane", "window", **window | {"kernel_size": 2**15 + 2**14})
    assert small.dtype == "int64"
    for kernel, dtype in ((2**15, "int32"), (257, "int32"), (256, "uint16"), (17, "uint16"), (16, "uint8")):
        taps = unpool.convert_indices(cells, "plane", "window", **window | {"kernel_size": kernel})
        assert taps.dtype == dtype
        back = unpool.convert_indices(taps, "window", "plane", **window | {"kernel_size": kernel})
        np.testing.assert_array_equal(back, cells)


def test_byte_order_and_memory_order_do_not_matter():
    example = Example(2, False, WINDOWS["apart"])
    expected = example.indices["onnx"]
    for indices in (
        example.indices["plane"].astype(">i8"),
        example.indices["plane"].copy("F"),
        example.indices["plane"][::-1][::-1],
    ):
        found = unpool.convert_indices(indices, "plane", "onnx", output_size=example.output_size)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype.isnative


def test_no_samples_are_no_mistake():
    indices = np.zeros((0, 3, 2, 2), "int64")
    for source, target in itertools.product(CONVENTIONS, CONVENTIONS):
        found = unpool.convert_indices(indices, source, target, output_size=(0, 3, 4, 4), kernel_size=2)
        assert (found.shape, found.dtype) == ((0, 3, 2, 2), "uint8" if target == "window" else "int64")


# --- refused indices and arguments ----------------------------------------------------------------------------------


def refused(source, place, value, **window):
    """Write a wrong value at a place (n, c, h, w) of valid indices, convert them, and return the message."""
    example = Example(2, False, WINDOWS["overlapping"])
    target = "onnx" if source == "plane" else "plane"
    indices = example.indices[source]
    indices[place] = value(indices[place]) if callable(value) else value
    with pytest.raises(IndexError) as caught:
        example.convert(source, target, **(window or example.window))
    text = str(caught.value)
    assert text.startswith(f"indices[{', '.join(map(str, place))}] = {indices[place]} does not fit the convention")
    assert repr(source) in text
    assert "`output_size`" in text
    return text


AT = (1, 2, 3, 1)


@pytest.mark.parametrize("source", CONVENTIONS)
@pytest.mark.parametrize("value", [-1, 2**62, -(2**63)])
def test_outside_everything(source, value):
    refused(source, AT, value)


@pytest.mark.parametrize(
    ("source", "value", "rule"),
    [
        ("plane", 72, "a plane has the cells 0..71"),
        ("tensorflow", lambda index: index - 1, "cell * 3 + channel"),
        ("tensorflow", lambda index: index + 72 * 3, "the cells 0..71"),
        ("tensorflow_batch", lambda index: index + 1, "* 3 + channel"),
        ("tensorflow_batch", lambda index: index - 72 * 3, "(sample * 72 + cell)"),
        ("onnx", lambda index: index - 72, "a plane of 72 cells follows the other"),
        ("onnx", lambda index: index + 72 * 3, "a plane of 72 cells follows the other"),
        ("onnx_column_major", lambda index: index - 72, "a plane of 72 cells follows the other"),
        ("window", 9, "window of (3, 3)"),
    ],
    ids=[
        "past the plane",
        "another channel",
        "past the channels-last plane",
        "another channel of a batch",
        "another sample",
        "another channel's plane",
        "another sample's plane",
        "another channel's plane by columns",
        "past the window",
    ],
)
def test_of_another_place(source, value, rule):
    assert rule in refused(source, AT, value)


def test_in_the_padding():
    """The windows of row 0 start one cell above the plane, and those of row 8 end one cell below it."""
    assert "outside the padding" in refused("window", (0, 0, 0, 0), 0)
    assert "outside the padding" in refused("window", (1, 2, 0, 1), 2)
    assert "outside the padding" in refused("window", (0, 0, 8, 1), 6)


def test_outside_its_own_window():
    """The cells are in the plane, but their windows do not read them: too far off, or skipped by dilation."""
    for window, place, index in (
        ({"kernel_size": 2}, "0, 0", 2),
        ({"kernel_size": 2}, "0, 0", 8),
        ({"kernel_size": 2}, "0, 1", 0),
        ({"kernel_size": 2}, "0, 1", 5),
        ({"kernel_size": 2, "stride": 1, "dilation": 2}, "0, 0", 1),
        ({"kernel_size": 2, "stride": 1, "dilation": 2}, "0, 0", 4),
    ):
        # All windows name the same cell. The error names the first window that does not read it.
        indices = np.full((1, 1, 2, 2), index)
        for target in CONVENTIONS:
            with pytest.raises(IndexError, match=rf"indices\[0, 0, {place}\] = {index} is outside its own window"):
                unpool.convert_indices(indices, "plane", target, output_size=(1, 1, 4, 4), **window)


@pytest.mark.parametrize("source", CONVENTIONS[:-1])
def test_outside_its_own_window_in_every_convention(source):
    """The message shows the index in the convention of the caller."""
    example = Example(2, False, WINDOWS["apart"])
    one = example.indices["plane"].copy()
    one[AT] = 0 if one[AT] > 40 else 71
    indices = unpool.convert_indices(one, "plane", source, output_size=example.output_size)
    for target in CONVENTIONS:
        with pytest.raises(IndexError, match=rf"indices\[1, 2, 3, 1\] = {indices[AT]} is outside its own window"):
            unpool.convert_indices(indices, source, target, output_size=example.output_size, **example.window)
    unpool.convert_indices(indices, source, "plane", output_size=example.output_size)


def test_the_first_in_row_major_order():
    indices = np.zeros((2, 2, 2, 2), "int64")
    indices[0, 1, 1, 0] = indices[0, 1, 1, 1] = indices[1, 0, 0, 0] = 99
    with pytest.raises(IndexError, match=r"indices\[0, 1, 1, 0\] = 99"):
        unpool.convert_indices(indices, "plane", "onnx", output_size=(2, 2, 4, 4))


def test_unsigned_indices_are_shown_as_they_are():
    with pytest.raises(IndexError, match="= 18446744073709551615 does"):
        unpool.convert_indices(np.full((1, 1, 1), 2**64 - 1, "uint64"), "plane", "onnx", output_size=(1, 1, 4))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"source": "torch"}, ValueError, "`source` must be one of 'plane', 'tensorflow', .* got 'torch'"),
        ({"target": "ONNX"}, ValueError, "`target` must be one of 'plane', 'tensorflow', .* got 'ONNX'"),
        ({"data_format": "CHWN"}, ValueError, "`data_format` must be one of"),
        ({"output_size": (4, 4)}, ValueError, "`output_size` must be the full shape"),
        ({"output_size": (1, 1, 4.0, 4)}, TypeError, "`output_size` must be a sequence of integers"),
        ({"output_size": (2, 1, 4, 4)}, ValueError, "`output_size` must be the full shape"),
        ({"output_size": (1, 2, 4, 4)}, ValueError, "`output_size` must be the full shape"),
        ({"data_format": "channels_last"}, ValueError, "`output_size` must be the full shape"),
        ({"output_size": (1, 1, 6, 4), "kernel_size": 2}, ValueError, "`output_size` must be between 3 and 5"),
        ({"kernel_size": 0}, ValueError, "`kernel_size` must be between"),
        ({"kernel_size": 2, "padding": 2}, ValueError, "`padding` must be at most half"),
        ({"indices": np.zeros((1, 1, 2, 2))}, TypeError, "`indices` must be integers"),
        ({"indices": np.zeros((1, 1, 2, 2), bool)}, TypeError, "`indices` must be integers"),
        ({"indices": [[[[0]]]]}, TypeError, "`indices` must be an array, got list"),
        ({"indices": np.zeros((2, 2), int)}, ValueError, "`indices` must have the batch and channels"),
        ({"indices": np.zeros((1,) * 6, int)}, ValueError, "`indices` must have the batch and channels"),
        ({"indices": np.ma.zeros((1, 1, 2, 2), int)}, TypeError, "`indices` must not be a numpy.ma.MaskedArray"),
    ],
    ids=str,
)
def test_wrong_arguments(changes, error, message):
    arguments = {
        "indices": np.zeros((1, 1, 2, 2), int),
        "source": "plane",
        "target": "onnx",
        "output_size": (1, 1, 4, 4),
    }
    assert unpool.convert_indices(**arguments).tolist() == [[[[0, 0], [0, 0]]]]
    with pytest.raises(error, match=message):
        unpool.convert_indices(**(arguments | changes))
