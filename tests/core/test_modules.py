"""A module keeps the arguments of its function: checked when it is created, immutable and hashable."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import unpool

POOLS = [unpool.MaxPool1d, unpool.MaxPool2d, unpool.MaxPool3d]
UNPOOLS = [unpool.MaxUnpool1d, unpool.MaxUnpool2d, unpool.MaxUnpool3d]
EVERY = [*POOLS, *UNPOOLS]


def data(rank, channels_last=False):
    sizes = (7, 6, 5)[:rank]
    shape = (2, *sizes, 3) if channels_last else (2, 3, *sizes)
    return np.random.default_rng(rank).permutation(int(np.prod(shape))).reshape(shape).astype("float32")


def same(actual, expected):
    actual, expected = (value if isinstance(value, tuple) else (value,) for value in (actual, expected))
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("channels_last", [False, True], ids=["channels_first", "channels_last"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_module_equals_its_function(rank, channels_last):
    x = data(rank, channels_last)
    data_format = "channels_last" if channels_last else "channels_first"
    max_pool, max_unpool = getattr(unpool, f"max_pool{rank}d"), getattr(unpool, f"max_unpool{rank}d")
    for window in (
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (2, 3, 2)[:rank], "stride": (1, 2, 2)[:rank], "dilation": (2, 1, 1)[:rank]},
    ):
        for options in (
            {"ceil_mode": True, "data_format": data_format},
            {"return_indices": True, "data_format": data_format, "index_dtype": "int32", "backend": "cpu"},
            {"return_indices": True, "data_format": data_format},
        ):
            result = POOLS[rank - 1](**window, **options)(x)
            same(result, max_pool(x, **window, **options))
        values, indices = result
        for options in (
            {"data_format": data_format},
            {"data_format": data_format, "duplicates": "sum", "validate": False, "backend": "cpu"},
        ):
            module = UNPOOLS[rank - 1](**window, **options)
            # All indices are 0, which fits the default size too; the default differs from these odd sizes.
            same(module(values, 0 * indices), max_unpool(values, 0 * indices, **window, **options))
            expected = max_unpool(values, indices, **window, **options, output_size=x.shape)
            same(module(values, indices, x.shape), expected)
            same(module(values, indices, output_size=x.shape), expected)
            out = np.empty_like(x)
            assert module(values, indices, x.shape, out=out) is out
            same(out, expected)


def test_the_duplicates_of_a_module_are_kept():
    values, indices = np.ones((1, 2)), np.array([[1, 1]])
    assert unpool.MaxUnpool1d(2)(values, indices).tolist() == [[0, 1, 0, 0]]
    assert unpool.MaxUnpool1d(2, duplicates="sum")(values, indices).tolist() == [[0, 2, 0, 0]]
    with pytest.raises(ValueError, match="must not repeat"):
        unpool.MaxUnpool1d(2, duplicates="error")(values, indices)


def test_a_module_pools_into_out():
    x = data(2)
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    out = np.empty_like(values), np.empty_like(indices)
    found = unpool.MaxPool2d(2, return_indices=True)(x, out=out)
    assert all(one is other for one, other in zip(found, out, strict=True))
    same(out, (values, indices))


def test_arguments_by_position_are_those_of_torch():
    """In the function, as in PyTorch's, `ceil_mode` comes before `return_indices`; in the module it comes after."""
    assert unpool.MaxPool2d(3, 2, 1, 1, True, False) == unpool.MaxPool2d(3, stride=2, padding=1, return_indices=True)
    assert unpool.MaxUnpool2d(3, 2, 1) == unpool.MaxUnpool2d(3, stride=2, padding=1)
    for module, count in ((unpool.MaxPool2d, 6), (unpool.MaxUnpool2d, 3)):
        with pytest.raises(TypeError, match="positional arguments"):
            module(*(2, 2, 0, 1, True, True, "channels_last")[: count + 1])


# --- objects --------------------------------------------------------------------------------------------------------

SOME = [
    unpool.MaxPool1d(2),
    unpool.MaxPool2d((3, 2), 1, [1, 0], ceil_mode=True, data_format="channels_last"),
    unpool.MaxPool2d(2, return_indices=True, index_dtype=np.int32, backend="cpu"),
    unpool.MaxPool3d(3, dilation=(1, 2, 1)),
    unpool.MaxUnpool1d(2),
    unpool.MaxUnpool2d((3, 2), 1, (1, 0), dilation=2, duplicates="sum", validate=False),
    unpool.MaxUnpool3d(3, data_format="channels_last", duplicates="error", backend="cpu"),
]
some = pytest.mark.parametrize("module", SOME, ids=repr)


@some
def test_the_text_of_a_module_makes_an_equal_one(module):
    again = eval(repr(module), dict(vars(unpool)))
    assert type(again) is type(module)
    assert again == module
    assert repr(again) == repr(module)


@some
def test_a_module_can_be_sent_and_copied(module):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(module, protocol)) == module
    assert copy.copy(module) == module
    assert copy.deepcopy(module) == module
    assert dataclasses.replace(module) == module
    assert dataclasses.replace(module, kernel_size=5) != module


# A module, what is replaced, and the module that this makes.
REPLACED = [
    (unpool.MaxPool2d(2), {"kernel_size": 3}, unpool.MaxPool2d(3)),
    (unpool.MaxPool3d(2, []), {"kernel_size": (3, 2, 2)}, unpool.MaxPool3d((3, 2, 2))),
    (unpool.MaxPool2d(2), {"stride": 1}, unpool.MaxPool2d(2, 1)),
    (unpool.MaxPool2d(2), {"kernel_size": 3, "stride": (2, 2)}, unpool.MaxPool2d(3, 2)),
    (unpool.MaxPool2d(2), {"kernel_size": 3, "stride": unpool.MaxPool2d(2).stride}, unpool.MaxPool2d(3, 2)),
    (unpool.MaxPool2d(2, 2), {"kernel_size": 3}, unpool.MaxPool2d(3, 2)),
    (unpool.MaxPool2d(2, 1), {"kernel_size": 3, "stride": None}, unpool.MaxPool2d(3)),
    (unpool.MaxPool2d(2), {"index_format": "window"}, unpool.MaxPool2d(2, index_format="window")),
    (unpool.MaxPool2d(2, index_format="window"), {"kernel_size": 17}, unpool.MaxPool2d(17, index_format="window")),
    (unpool.MaxPool2d(2, index_format="window"), {"index_format": "plane"}, unpool.MaxPool2d(2)),
    (
        unpool.MaxPool2d(2, index_dtype="int64"),
        {"index_format": "window"},
        unpool.MaxPool2d(2, index_format="window", index_dtype="int64"),
    ),
    (unpool.MaxPool2d(2), {"index_dtype": "int32"}, unpool.MaxPool2d(2, index_dtype="int32")),
    (unpool.MaxUnpool1d(2), {"kernel_size": 3}, unpool.MaxUnpool1d(3)),
    (unpool.MaxUnpool2d(2), {"kernel_size": None}, unpool.MaxUnpool2d(None)),
    (unpool.MaxUnpool2d(None), {"kernel_size": 2}, unpool.MaxUnpool2d(2)),
    (unpool.MaxUnpool3d(2, 1), {"kernel_size": 3, "duplicates": "sum"}, unpool.MaxUnpool3d(3, 1, duplicates="sum")),
]


@pytest.mark.parametrize("replace", [dataclasses.replace, *([copy.replace] if hasattr(copy, "replace") else [])])
@pytest.mark.parametrize(("module", "changes", "expected"), REPLACED)
def test_what_was_left_out_follows_in_a_replaced_copy(replace, module, changes, expected):
    found = replace(module, **changes)
    assert found == expected
    assert (repr(found), hash(found), vars(found)) == (repr(expected), hash(expected), vars(expected))
    again = replace(replace(pickle.loads(pickle.dumps(module)), padding=0), **changes)
    assert (again, type(again)) == (expected, type(module))


def test_values_are_read_whether_they_follow_or_not():
    module = unpool.MaxPool2d(3)
    assert (module.stride, module.index_dtype) == ((3, 3), "int64")
    assert unpool.MaxUnpool2d(2, module.stride) == unpool.MaxUnpool2d(2, 3)
    assert dataclasses.asdict(module)["stride"] == (3, 3)
    defaults = {field.name: field.default for field in dataclasses.fields(module)}
    assert defaults["stride"] is defaults["index_dtype"] is None


def test_modules_are_equal_by_what_they_do():
    ways = [
        unpool.MaxPool2d(2),
        unpool.MaxPool2d([2, 2], (2, 2), np.int64(0), 1, 0, 0, index_dtype=np.dtype("int64")),
        unpool.MaxPool2d(kernel_size=(2, 2), stride=None),
    ]
    assert len(set(ways)) == 1
    assert len(set(SOME)) == len(SOME)
    assert unpool.MaxPool2d(2) != unpool.MaxUnpool2d(2)
    assert unpool.MaxPool1d(2) != unpool.MaxPool2d(2)
    assert unpool.MaxPool1d((2,)) != (2,)


@pytest.mark.parametrize("cls", EVERY)
def test_a_module_never_changes(cls):
    module = cls(2)
    text, key = repr(module), hash(module)
    names = [field.name for field in dataclasses.fields(module)]
    assert len(names) >= 8
    for name in (*names, "rank", "anything"):
        with pytest.raises(AttributeError):
            setattr(module, name, 1)
    for name in names:
        with pytest.raises(AttributeError):
            delattr(module, name)
    assert (repr(module), hash(module), module.rank) == (text, key, int(cls.__name__[-2]))


def test_a_module_does_not_follow_the_list_it_was_made_of():
    kernel = [2, 2]
    module = unpool.MaxPool2d(kernel)
    kernel[0] = 3
    assert module == unpool.MaxPool2d(2)


# --- checked when created -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kernel_size": 0}, ValueError, "`kernel_size` must be between"),
        ({"kernel_size": 2.0}, TypeError, "`kernel_size` must be an integer"),
        ({"kernel_size": "2"}, TypeError, "`kernel_size` must be an integer"),
        ({"kernel_size": (2, 2, 2, 2)}, ValueError, "`kernel_size` must be one integer"),
        ({"kernel_size": 2, "stride": 0}, ValueError, "`stride` must be between"),
        ({"kernel_size": 2, "stride": "2"}, TypeError, "`stride` must be an integer"),
        ({"kernel_size": 2, "padding": 2}, ValueError, "`padding` must be at most half"),
        ({"kernel_size": 2, "padding": -1}, ValueError, "`padding` must be between"),
        ({"kernel_size": 2, "dilation": 0}, ValueError, "`dilation` must be between"),
        ({"kernel_size": 2, "data_format": "CNHW"}, ValueError, "`data_format` must be one of"),
        ({"kernel_size": 2, "backend": "gpu"}, ValueError, "`backend` must be one of"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_met_where_it_is_written(cls, arguments, error, message):
    with pytest.raises(error, match=message):
        cls(**arguments)


def test_a_wrong_choice_is_met_where_it_is_written():
    for cls in UNPOOLS:
        with pytest.raises(ValueError, match="`duplicates` must be one of"):
            cls(2, duplicates="mean")
    for cls in POOLS:
        with pytest.raises(ValueError, match="`index_dtype` must be one of"):
            cls(2, index_dtype="int16")


@pytest.mark.parametrize("cls", EVERY)
def test_a_module_needs_a_kernel(cls):
    with pytest.raises(TypeError, match="kernel_size"):
        cls()
