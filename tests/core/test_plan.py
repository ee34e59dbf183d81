"""Sizes agree with counting windows one by one, and a Plan depends on its call alone, not on earlier calls."""

import copy
import dataclasses
import itertools
import math
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

import unpool
from unpool import arguments, plan
from unpool.sizes import common_shape

X = np.arange(1, 17, dtype="float32").reshape(1, 1, 4, 4)
P, I = unpool.max_pool2d(X, 2, return_indices=True)


def unequal(most):
    """Return pairs of padded cells before and after the plane: one side alone, all, and two pairs between."""
    return dict.fromkeys([(most, 0), (0, most), (most, most), (most // 2, most // 4), (1, most)] if most else [])


def sides(padding):
    return padding if isinstance(padding, tuple) else (padding, padding)


# Along one axis: kernel, stride, padding, dilation.
WINDOWS = [
    (kernel, stride, padding, dilation)
    for kernel, stride, dilation in itertools.product((1, 2, 3, 4, 5), (1, 2, 3, 4), (1, 2, 3))
    for padding in (*range(kernel // 2 + 1), *unequal(dilation * (kernel - 1)))
]
SIZES = range(1, 25)


def window_1d(kernel, stride, padding, dilation):
    return arguments.window(1, kernel, stride, (padding,) if isinstance(padding, tuple) else padding, dilation)


def cells_read(size, kernel, stride, padding, dilation, ceil_mode):
    """Return the cells of every window along an axis of `size` cells. Windows are tried until one does not count.

    A window counts if it fits. With `ceil_mode` it also counts if less than a stride of it is past the end, and it
    starts before the end of the input. Cells in the padding are not listed.
    """
    found = []
    before, after = sides(padding)
    first = -before
    while True:
        past_the_end = first + dilation * (kernel - 1) + 1 - (size + after)
        if past_the_end > 0 and not (ceil_mode and past_the_end < stride and first < size):
            return found
        found.append([first + step * dilation for step in range(kernel) if 0 <= first + step * dilation < size])
        first += stride


def pooled_size(size, window, ceil_mode):
    call = plan.plan_pooling((1, 1, size), window, ceil_mode, False, None)
    return call.pooled[2]


@pytest.mark.parametrize("ceil_mode", [False, True], ids=["floor", "ceil"])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_pooling_counts_the_windows(dilation, ceil_mode):
    outcomes = set()
    for entries in (window for window in WINDOWS if window[3] == dilation):
        window = window_1d(*entries)
        for size in SIZES:
            reads = cells_read(size, *entries, ceil_mode)
            if not reads:
                outcome = "none"
                with pytest.raises(ValueError, match="pools to nothing"):
                    pooled_size(size, window, ceil_mode)
            elif not all(reads):
                outcome = "padding"
                with pytest.raises(ValueError, match="reads only padding"):
                    pooled_size(size, window, ceil_mode)
            else:
                outcome = "pooled"
                assert pooled_size(size, window, ceil_mode) == len(reads), (size, entries)
            outcomes.add(outcome)
    # The rules of padding ensure that undilated windows never read only padding.
    assert outcomes == ({"none", "pooled"} if dilation == 1 else {"none", "pooled", "padding"})


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_every_size_that_pools_to_it_can_be_restored(dilation):
    for entries in (window for window in WINDOWS if window[3] == dilation):
        window = window_1d(*entries)
        for size, ceil_mode in itertools.product(SIZES, (False, True)):
            pooled = len(cells_read(size, *entries, ceil_mode))
            if pooled:
                call = plan.plan_unpooling((1, 1, pooled), window, (size,), False)
                assert call.plane == (1, 1, size)
                assert call.pooled == (1, 1, pooled)


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_sizes_follow_the_formula(dilation):
    """`default - stride < size < default + stride`, and a plane has at least one cell."""
    for kernel, stride, padding, _ in (window for window in WINDOWS if window[3] == dilation):
        window = window_1d(kernel, stride, padding, dilation)
        for pooled in range(1, 5):
            default = (pooled - 1) * stride - sum(sides(padding)) + dilation * (kernel - 1) + 1
            for size in range(-1, default + stride + 3):
                if default - stride < size < default + stride and size >= 1:
                    assert plan.plan_unpooling((1, 1, pooled), window, (size,), False).plane[2] == size
                else:
                    with pytest.raises(ValueError, match=rf"got output_size=\({size},\)"):
                        plan.plan_unpooling((1, 1, pooled), window, (size,), False)
            if default >= 1:
                assert plan.plan_unpooling((1, 1, pooled), window, None, False).plane[2] == default
            else:
                with pytest.raises(ValueError, match=r"must be given|no plane pools to"):
                    plan.plan_unpooling((1, 1, pooled), window, None, False)


def test_bounds_in_a_message_are_inclusive():
    for kernel, stride, padding, dilation in WINDOWS:
        default = 2 * stride - sum(sides(padding)) + dilation * (kernel - 1) + 1
        low, high = max(1, default - stride + 1), default + stride - 1
        if high < 1:  # no size pools to 3 windows
            continue
        window = window_1d(kernel, stride, padding, dilation)
        for wrong in (low - 1, high + 1):
            rule = f"between {low} and {high} (both allowed)" if low < high else f"{low}"
            with pytest.raises(ValueError, match=re.escape(f"`output_size` must be {rule} in")):
                plan.plan_unpooling((1, 1, 3), window, (wrong,), False)
        for right in (low, high):
            plan.plan_unpooling((1, 1, 3), window, (right,), False)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("channels_last", [False, True], ids=["channels_first", "channels_last"])
@pytest.mark.parametrize("leading", [(), (0,), (5,)], ids=["unbatched", "no samples", "batch"])
def test_axes_do_not_mix(rank, channels_last, leading):
    """Every axis has its own sizes, wherever it is in the shape. A Plan always has three axes."""
    kernel, stride, padding, dilation = (2, 3, 4)[:rank], (1, 2, 3)[:rank], (0, 1, 2)[:rank], (1, 2, 1)[:rank]
    window = arguments.window(rank, kernel, stride, padding, dilation)
    sizes = (9, 10, 11)[:rank]
    pooled = tuple(len(cells_read(*axis, False)) for axis in zip(sizes, *window, strict=True))

    def full(spatial):
        return (*leading, *spatial, 7) if channels_last else (*leading, 7, *spatial)

    pooling = plan.plan_pooling(full(sizes), window, False, channels_last, "int64")
    unpoolings = [
        plan.plan_unpooling(full(pooled), window, output_size, channels_last) for output_size in (sizes, full(sizes))
    ]
    for call in (pooling, *unpoolings):
        assert call.pooled_shape == full(pooled)
        assert call.plane_shape == full(sizes)
        assert call.spatial == sizes
        assert call.plane == (1,) * (3 - rank) + sizes
        assert call.pooled == (1,) * (3 - rank) + pooled
        assert call.kernel == (1,) * (3 - rank) + kernel
        assert call.stride == (1,) * (3 - rank) + stride
        assert call.padding == (0,) * (3 - rank) + padding
        assert call.dilation == (1,) * (3 - rank) + dilation
        assert (call.batch, call.channels) == ((*leading, 1)[0], 7)
        assert (call.cells, call.windows) == (np.prod(sizes), np.prod(pooled))
        assert call.channels_last == channels_last


def test_an_output_size_has_one_of_three_lengths():
    kinds = {
        "batch": (P, I, [(4, 5), (1, 1, 4, 5)], [(4,), (1, 4, 5), (1, 1, 1, 4, 5), ()]),
        "unbatched": (P[0], I[0], [(4, 5), (1, 4, 5)], [(5,), (1, 1, 4, 5), ()]),
    }
    for pooled, indices, right, wrong in kinds.values():
        for size in right:
            assert unpool.max_unpool2d(pooled, indices, 2, output_size=size).shape[-2:] == (4, 5)
        for size in wrong:
            with pytest.raises(ValueError, match="must have 2 entries"):
                unpool.max_unpool2d(pooled, indices, 2, output_size=size)


@pytest.mark.parametrize("windows", [2**31, 2**31 + 2])
def test_int32_holds_planes_of_two_to_the_31_cells(windows):
    """The last index of such a plane is 2**31 - 1."""
    window = window_1d(2, 2, 0, 1)
    if windows == 2**31:
        assert plan.plan_pooling((1, 1, windows), window, False, False, "int32").index_dtype == "int32"
    else:
        with pytest.raises(ValueError, match="pass index_dtype='int64'"):
            plan.plan_pooling((1, 1, windows), window, False, False, "int32")
    assert plan.plan_pooling((1, 1, windows), window, False, False, "int64").index_dtype == "int64"


# --- padding that follows from the size -------------------------------------------------------------------------------


SAME = [(kernel, stride, dilation) for kernel in range(1, 6) for stride in range(1, 6) for dilation in (1, 2, 3)]
both_words = pytest.mark.parametrize("word", ["same", "same_lower"])


def same_cells(size, kernel, stride, dilation, word):
    """Return the padding before the axis and the cells of ceil(size / stride) windows.

    By TensorFlow's definition, the smaller half is before the axis; by ONNX's SAME_LOWER, the larger half.
    """
    count = math.ceil(size / stride)
    total = max((count - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    before = total // 2 if word == "same" else total - total // 2
    firsts = [window * stride - before for window in range(count)]
    return before, [[c for k in range(kernel) if 0 <= (c := first + k * dilation) < size] for first in firsts]


@both_words
@pytest.mark.parametrize(("kernel", "stride", "dilation"), SAME)
def test_same_is_as_in_tensorflow_and_onnx(kernel, stride, dilation, word):
    window = window_1d(kernel, stride, word, dilation)
    for size in SIZES:
        before, reads = same_cells(size, kernel, stride, dilation, word)
        if not all(reads):
            with pytest.raises(ValueError, match=rf"reads only padding .* padding='{word}'"):
                pooled_size(size, window, False)
            continue
        for ceil_mode in (False, True):
            call = plan.plan_pooling((1, 1, size), window, ceil_mode, False, None)
            assert (call.pooled[2], call.padding[2]) == (len(reads), before)
            assert call.window == window
        restored = plan.plan_unpooling((1, 1, len(reads)), window, (size,), False)
        assert (restored.plane[2], restored.padding[2], restored.window) == (size, before, window)


@both_words
@pytest.mark.parametrize(("kernel", "stride", "dilation"), SAME)
def test_same_has_the_sizes_that_pool_to_it(kernel, stride, dilation, word):
    window = window_1d(kernel, stride, word, dilation)
    for pooled in range(1, 5):
        right = [size for size in range(1, pooled * stride + 9) if math.ceil(size / stride) == pooled]
        assert plan.plan_unpooling((1, 1, pooled), window, None, False).plane[2] == max(right)
        for size in range(-1, pooled * stride + 9):
            if size in right:
                assert plan.plan_unpooling((1, 1, pooled), window, (size,), False).plane[2] == size
            else:
                with pytest.raises(ValueError, match=rf"must be .*\b{max(right)} .* padding='{word}'"):
                    plan.plan_unpooling((1, 1, pooled), window, (size,), False)


@both_words
@pytest.mark.parametrize(("kernel", "stride", "dilation"), SAME)
def test_same_is_known_before_the_size_where_it_does_not_depend_on_it(kernel, stride, dilation, word):
    found = plan.plan_pooling((1, 1, None), window_1d(kernel, stride, word, dilation), False, False, None).padding[2]
    paddings = {same_cells(size, kernel, stride, dilation, word)[0] for size in range(1, 40)}
    assert found == (paddings.pop() if len(paddings) == 1 else None)


def planned(count, size):
    """Return kernel, stride and padding of a call without a window, along one axis."""
    found = plan.plan_unpooling((1, 1, count), arguments.window(1, None, None, 0, 1, optional=True), (size,), False)
    return found.kernel[2], found.stride[2], found.padding[2]


def test_without_a_window_windows_hold_those_of_adaptive_pooling():
    """Each window has a cell of the plane, and they reach its end."""
    for size, count in itertools.product(SIZES, SIZES):
        kernel, stride, padding = planned(count, size)
        starts = [window * stride - padding for window in range(count)]
        assert all(-kernel < start < size for start in starts)
        assert starts[-1] + kernel >= size
        # PyTorch's start_index and end_index.
        adaptive = [(window * size // count, math.ceil((window + 1) * size / count)) for window in range(count)]
        assert all(start <= low < high <= start + kernel for start, (low, high) in zip(starts, adaptive, strict=True))
        if size % count == 0:
            assert [(start, start + kernel) for start in starts] == adaptive


@pytest.mark.parametrize("size", [2**31, 2**31 + 1, 2**32, 2**40])
def test_without_a_window_a_long_plane_has_windows_that_kernels_take(size):
    for count, cells in itertools.product((1, 2, 3, size - 1, size), (1, 2, 3, size - 1, size)):
        kernel, stride, padding = planned(count, cells)
        assert 1 <= kernel < 2**31
        assert 1 <= stride < 2**31
        assert 0 <= padding < kernel


def test_equal_windows_are_equal():
    """A pair of equal numbers is one number, where that is allowed, in every spelling."""
    assert arguments.window(2, 3, 2, ((1, 1), 0), 1) == arguments.window(2, 3, 2, (1, 0), 1)
    pairs = arguments.window(2, 3, 2, ((2, 2), (0, 1)), 1)
    assert pairs.padding == ((2, 2), (0, 1))
    assert arguments.window(2, 3, 2, np.array([[2, 2], [0, 1]]), 1) == pairs
    assert arguments.window(2, 3, 2, [[2, 2], (0, 1)], 1) == pairs
    assert unpool.MaxPool2d(3, 2, [[2, 2], [0, 1]]) == unpool.MaxPool2d(3, 2, ((2, 2), (0, 1)))


@pytest.mark.parametrize(
    "word", [((1, 0), 0.5), ((1, True), 0), ((1, 0, 0), 0), ((1, 0),), (((1, 0),), 0), ("same", 1)]
)
def test_other_pairs_are_refused(word):
    for _ in range(2):  # from a cache, too
        with pytest.raises((TypeError, ValueError), match="`padding` must"):
            arguments.window(2, 3, 2, word, 1)


def test_valid_is_no_padding():
    assert arguments.window(2, 3, 2, "valid", 1) == arguments.window(2, 3, 2, 0, 1)


@pytest.mark.parametrize("word", ["Same", "full", "", b"same", ("same", "same"), -1])
def test_other_paddings_are_refused(word):
    with pytest.raises((TypeError, ValueError), match="`padding` must be"):
        arguments.window(2, 3, 2, word, 1)


def test_same_keeps_to_its_words():
    module = unpool.MaxPool2d(3, 2, "same")
    assert module == unpool.MaxPool2d(3, 2, padding="same") != unpool.MaxPool2d(3, 2, 1)
    assert "padding='same'" in repr(module)
    assert module(np.ones((1, 5, 6))).shape == (1, 3, 3)


# --- a Plan is a value ----------------------------------------------------------------------------------------------


def a_plan(**changes):
    given = {"shape": (1, 3, 4, 4), "output_size": None, "validate": True} | changes
    window = arguments.window(2, 2, None, 0, 1)
    return plan.plan_unpooling(given["shape"], window, given["output_size"], False, given["validate"])


def test_a_plan_is_frozen():
    for field in dataclasses.fields(unpool.Plan):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(a_plan(), field.name, None)


def test_a_plan_holds_nothing_that_can_change():
    """Integers, strings and tuples of integers can be hashed, compared, printed and pickled."""
    for call in (a_plan(), a_plan(output_size=(9, 9))):
        for field in dataclasses.fields(call):
            if not field.init:  # the cached hash
                continue
            value = getattr(call, field.name)
            entries = value if isinstance(value, tuple) else (value,)
            if field.name == "window":
                entries = [entry for along in value for entry in along]
            assert all(type(entry) in (int, bool, str, type(None)) for entry in entries), field.name


def test_equal_plans_are_one_key():
    plan.plan_unpooling.cache_clear()
    first = a_plan()
    plan.plan_unpooling.cache_clear()
    second = a_plan()
    assert first is not second
    assert first == second
    assert len({first: 1, second: 2}) == 1
    assert a_plan(validate=False) != first
    assert a_plan(output_size=(9, 9)) != first


def test_a_plan_computes_its_hash_once(monkeypatch):
    call = dataclasses.replace(a_plan())
    expected = hash(call)
    monkeypatch.setattr(unpool.Plan, "_entries", None)
    assert hash(call) == expected


@pytest.mark.parametrize("changes", [{}, {"validate": "windows"}])
def test_a_plan_is_the_same_key_in_another_process(changes):
    """Each process hashes strings with its own seed, so a pickle must not keep the hash."""
    call = a_plan(**changes)
    hash(call)
    program = """if True:
        import dataclasses, pickle, sys
        call = pickle.load(sys.stdin.buffer)
        print({call: "found"}[dataclasses.replace(call)])
    """
    for seed in "1", "2":
        result = subprocess.run(
            [sys.executable, "-c", program],
            input=pickle.dumps(call),
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert result.stdout.strip() == b"found", result.stderr
    assert pickle.loads(pickle.dumps(call)) == copy.deepcopy(call) == call


# --- no history -----------------------------------------------------------------------------------------------------


class Spy:
    """A backend that records the plans of its calls."""

    def __init__(self):
        self.plans = []

    def pool(self, input, plan, out):
        self.plans.append(plan)
        return None, None

    def scatter(self, values, indices, plan, duplicates, out):
        self.plans.append(plan)

    gather = scatter


@pytest.fixture
def plans(monkeypatch):
    spy = Spy()
    monkeypatch.setattr("unpool.registry.LOADED", {"cpu": spy})
    plan.plan_pooling.cache_clear()
    plan.plan_unpooling.cache_clear()
    return spy.plans


@pytest.mark.parametrize("first", ["right", "wrong"])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda: unpool.max_pool2d(X, 2.0),
        lambda: unpool.max_pool2d(X, np.float64(2)),
        lambda: unpool.max_pool2d(X, (2.0, 2)),
        lambda: unpool.max_pool2d(X, 2, 2.0),
        lambda: unpool.max_pool2d(X, 2, 2, 0.0),
        lambda: unpool.max_pool2d(X, 2, 2, 0, 1.0),
        lambda: unpool.max_unpool2d(P, I, 2, 2.0),
        lambda: unpool.max_unpool2d(P, I, 2, output_size=(4.0, 4)),
        lambda: unpool.max_unpool2d(P, I, 2, output_size=(1, 1, 4, 4.0)),
        lambda: unpool.max_pool2d_backward(P, I, (4.0, 4.0), 2),
        lambda: unpool.max_unpool2d_backward(X, I, (2, 2.0)),
    ],
)
def test_a_float_is_refused_whatever_was_called_before(plans, first, wrong):
    """2 and 2.0 are equal and have the same hash, but a cached 2 must not serve a call with 2.0."""

    def right():
        unpool.max_pool2d(X, 2, 2, 0, 1)
        unpool.max_pool2d(X, (2, 2))
        unpool.max_unpool2d(P, I, 2, 2, output_size=(4, 4))
        unpool.max_unpool2d(P, I, 2, 2, output_size=(1, 1, 4, 4))
        unpool.max_pool2d_backward(P, I, (4, 4), 2)
        unpool.max_unpool2d_backward(X, I, 2)

    if first == "right":
        right()
    for _ in range(2):
        with pytest.raises(TypeError, match=r"must be an? (integer|sequence of integers)"):
            wrong()
        right()


TWOS = [2, (2, 2), [2, 2], np.int64(2), np.uint8(2), (np.int32(2), 2), np.array(2)]


def test_all_ways_to_write_an_integer_are_one_plan(plans):
    for kernel, stride in itertools.product(TWOS, [*TWOS, None]):
        unpool.max_pool2d(X, kernel, stride)
        unpool.max_unpool2d(P, I, kernel, stride)
    for kind in (plans[::2], plans[1::2]):
        assert len(set(kind)) == 1
    for call in plans:
        assert all(type(entry) is int for entry in (*call.kernel, *call.stride))


def test_shapes_of_numpys_integers():
    """Arrays of other libraries may have such shapes, and the rules of sizes hold for them."""
    window = arguments.window(2, 2, None, 0, 1)
    shape = tuple(np.array([1, 1, 2, 2]))
    with pytest.raises(ValueError, match="`output_size` must be between 3 and 5"):
        plan.plan_unpooling(shape, window, (9, 4), False)
    with pytest.raises(ValueError, match="must span fewer than"):
        plan.plan_pooling(
            tuple(np.array([1, 1, 2**20, 2**20])), arguments.window(2, 2**12, None, 0, 1), False, False, None
        )


def test_all_ways_to_write_a_size_are_one_plan(plans):
    for size in ((4, 5), [4, 5], (np.int64(4), 5), (1, 1, 4, 5), [1, 1, np.int16(4), 5], np.array([4, 5])):
        unpool.max_unpool2d(P, I, 2, output_size=size)
        unpool.max_pool2d_backward(P, I, size, 2)
    for kind in (plans[::2], plans[1::2]):
        assert len(set(kind)) == 1
        assert all(type(entry) is int for entry in kind[0].spatial)


def test_true_is_no_number_before_and_after():
    """True equals 1. The result must not depend on what a cache holds."""
    for _ in range(2):
        with pytest.raises(TypeError, match="`kernel_size` must be an integer or a sequence of integers, got True"):
            unpool.max_pool2d(X, True, 1, 0, 1)
        with pytest.raises(TypeError, match=r"`stride` must be an integer .* got \(True, 1\)"):
            unpool.max_pool2d(X, 1, (True, 1), 0, 1)
        unpool.max_pool2d(X, 1, 1, 0, 1)


def test_flags_are_booleans_in_a_plan(plans):
    for validate in (True, 1, np.True_, False, 0):
        unpool.max_unpool2d(P, I, 2, validate=validate)
    assert [call.validate for call in plans] == [True, True, True, False, False]
    assert all(type(call.validate) is bool for call in plans)
    unpool.max_pool2d(X, 2, ceil_mode=1)
    unpool.max_pool2d(X, 2, ceil_mode=np.True_)
    assert plans[-1] == plans[-2]


def test_index_dtype_is_a_name_however_it_is_written(plans):
    for index_dtype in ("int32", np.int32, np.dtype("int32"), np.dtype(">i4")):
        unpool.max_pool2d(X, 2, return_indices=True, index_dtype=index_dtype)
    assert {call.index_dtype for call in plans} == {"int32"}
    unpool.max_pool2d(X, 2, index_dtype="int32")
    assert plans[-1].index_dtype is None  # the call does not return indices


# --- sizes that only a run knows --------------------------------------------------------------------------------------


class Traced:
    """Like a tensor of a graph: it has a shape, a dtype and entries, but no values."""

    def __init__(self, *shape, dtype="int32"):
        self.shape, self.dtype = shape, dtype

    def __repr__(self):
        return f"{self.dtype} {self.shape}"

    def __getitem__(self, place):
        return Traced(*self.shape[1:], dtype=self.dtype)


WINDOW = arguments.window(2, 2, None, 0, 1)


def test_a_pooling_of_unknown_sizes():
    found = plan.plan_pooling((None, 3, 5, None), WINDOW, False, False, None)
    assert found.pooled_shape == (None, 3, 2, None)
    assert (found.batch, found.channels, found.cells, found.windows) == (None, 3, None, None)
    assert found.spatial == (5, None)


def test_an_unpooling_of_unknown_sizes():
    found = plan.plan_unpooling((None, 3, 2, None), WINDOW, None, False)
    assert found.plane_shape == (None, 3, 4, None)
    found = plan.plan_unpooling((None, 3, 2, None), WINDOW, (5, None), False)
    assert found.plane_shape == (None, 3, 5, None)


def test_what_is_known_is_checked_anyway():
    with pytest.raises(ValueError, match="whose spatial dimension 0 pools to nothing"):
        plan.plan_pooling((None, 3, 1, None), WINDOW, False, False, None)
    with pytest.raises(ValueError, match="at least one element"):
        plan.plan_pooling((None, 0, None, None), WINDOW, False, False, None)
    with pytest.raises(ValueError, match=r"between 3 and 5 .* spatial dimension 0"):
        plan.plan_unpooling((None, None, 2, None), WINDOW, (6, None), False)
    with pytest.raises(ValueError, match="must keep the batch and channels"):
        plan.plan_unpooling((None, 3, 2, None), WINDOW, (None, 4, 4, None), False)


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ((4, 5), (4, 5)),
        ([2, 3, 4, 5], (2, 3, 4, 5)),
        ((None, 3, 4, 5), (None, 3, 4, 5)),
        ((None, None, 4, 5), (None, None, 4, 5)),
        (np.array([4, 5]), (4, 5)),
    ],
)
def test_known_sizes_are_not_traced(value, known):
    assert arguments.sizes_of("output_size", value, 2, False) == (known, None)


def test_traced_sizes_keep_their_entries():
    one = Traced()
    assert arguments.sizes_of("output_size", (None, 3, one, 5), 2, False) == ((None, 3, None, 5), (None, 3, one, 5))
    known, entries = arguments.sizes_of("output_size", Traced(4), 2, True)
    assert known == (None,) * 4
    assert [entry.shape for entry in entries] == [()] * 4


@pytest.mark.parametrize(
    "value",
    [
        4,
        "44",
        {4, 5},
        (4.0, 5),
        (4, "5"),
        (None, 5),
        Traced(),
        Traced(2, 2),
        Traced(None),
        Traced(2, dtype="float32"),
        (Traced(1), 4),
        (4, Traced(dtype="float32")),
    ],
    ids=str,
)
def test_other_sizes_are_refused(value):
    with pytest.raises(TypeError, match="`output_size` must be a sequence of integers"):
        arguments.sizes_of("output_size", value, 2, False)


@pytest.mark.parametrize(("value", "last"), [((1, 3, None, 5), False), ((1, None, 5, 3), True), ((3, 4, None), False)])
def test_a_spatial_size_must_not_be_left_open(value, last):
    with pytest.raises(ValueError, match=r"`output_size` must have an integer for each .* that the run computes"):
        arguments.sizes_of("output_size", value, 2, last)


def test_one_shape_of_two():
    assert common_shape("indices", (None, 3), "input", (2, None)) == (2, 3)
    for other in ((2, 4), (None, 4), (2, 3, 1)):
        with pytest.raises(ValueError, match="`indices` must have the shape of `input`"):
            common_shape("indices", other, "input", (None, 3))
