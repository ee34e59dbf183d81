"""The chunks along each axis: every window is in one chunk, and halos hold what a block reads, and no more.

Each is compared with counting windows one by one.
"""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from needs import require

from unpool import arguments
from unpool.plan import plan_pooling, plan_unpooling

require("dask", "unpool_backends.dask imports it")

from unpool_backends.dask import chunks  # noqa: E402
from unpool_backends.dask.chunks import Along, Layout, along, edges_of  # noqa: E402


@st.composite
def axes(draw):
    """Return sizes and the window along one axis; each window reads a cell."""
    kernel, stride, dilation = (draw(st.integers(1, most)) for most in (5, 5, 3))
    size, span = draw(st.integers(1, 60)), dilation * (kernel - 1) + 1
    padding = draw(st.integers(0, span - 1))
    at = Along(size, 1, kernel, stride, padding, dilation)
    assume(cells_read(at, 0))
    most = 1
    while cells_read(at, most):
        most += 1
    return at._replace(windows=draw(st.sampled_from([most, most, draw(st.integers(1, most))])))


@st.composite
def edges(draw, size):
    """Return the edges of up to six chunks."""
    inner = draw(st.lists(st.integers(1, size - 1), max_size=5, unique=True)) if size > 1 else []
    return (0, *sorted(inner), size)


def cells_read(at, window):
    first = window * at.stride - at.padding
    return [first + at.dilation * tap for tap in range(at.kernel) if 0 <= first + at.dilation * tap < at.size]


def spanned(at, windows):
    """Return the cells from the first to the last that each window covers, within the plane."""
    starts = [window * at.stride - at.padding for window in windows]
    return [range(max(0, start), min(at.size, start + at.dilation * (at.kernel - 1) + 1)) for start in starts]


def sharing(at, windows):
    """Return these windows and all that share a cell with them, as spans of cells."""
    own = spanned(at, windows)
    first, end = min(cells.start for cells in own), max(cells.stop for cells in own)
    return [o for o, cells in enumerate(spanned(at, range(at.windows))) if cells.start < end and cells.stop > first]


def furthest(edges, needed):
    """Return how far the ranges that blocks need go beyond their chunks, on either side."""
    before = max([edges[chunk] - min(entries) for chunk, entries in enumerate(needed)])
    after = max([max(entries) + 1 - edges[chunk + 1] for chunk, entries in enumerate(needed)])
    return max(0, before), max(0, after)


def check_chunks(at, axis):
    """Check that each window is in the chunk of its cell `window * stride`, and that chunks are not empty."""
    assert (axis.windows[0], axis.windows[-1]) == (0, at.windows)
    assert (axis.cells[0], axis.cells[-1]) == (0, at.size)
    assert len(axis.windows) == len(axis.cells)
    for side, halo in ((axis.windows, axis.windows_halo), (axis.cells, axis.cells_halo)):
        least = min(end - start for start, end in pairwise(side))
        assert least >= max(1, *halo)  # a halo reaches into the neighbour alone
    last = len(axis.cells) - 2
    for window in range(at.windows):
        own = [chunk for chunk, (start, end) in enumerate(pairwise(axis.windows)) if start <= window < end]
        cell = window * at.stride
        found = [chunk for chunk, (start, end) in enumerate(pairwise(axis.cells)) if start <= cell < end]
        assert own == (found or [last])


def chunks_of(axis):
    return [range(*pair) for pair in pairwise(axis.windows)]


@given(axes(), st.data())
def test_pooling(at, data):
    given = data.draw(edges(at.size))
    axis = chunks.of_pooling(at, given)
    check_chunks(at, axis)
    assert set(axis.cells) <= set(given)  # chunks are merged, and none is cut
    needed = [[cell for cells in spanned(at, windows) for cell in cells] for windows in chunks_of(axis)]
    assert axis.cells_halo == furthest(axis.cells, needed)
    assert axis.windows_halo == (0, 0)


@given(axes(), st.data())
def test_scatter(at, data):
    given = data.draw(edges(at.windows))
    axis = chunks.of_scatter(at, given)
    check_chunks(at, axis)
    assert set(axis.windows) <= set(given)
    reach = spanned(at, range(at.windows))
    needed = [
        [*windows, *(o for o, cells in enumerate(reach) if cells.start < end and cells.stop > start)]
        for windows, (start, end) in zip(chunks_of(axis), pairwise(axis.cells), strict=True)
    ]
    assert axis.windows_halo == furthest(axis.windows, needed)
    assert axis.cells_halo == (0, 0)


@given(axes(), st.booleans(), st.data())
def test_gather(at, rivals, data):
    given = data.draw(edges(at.windows))
    axis = chunks.of_gather(at, given, rivals)
    check_chunks(at, axis)
    assert set(axis.windows) <= set(given)
    read = [sharing(at, windows) if rivals else list(windows) for windows in chunks_of(axis)]
    before, after = furthest(axis.windows, read)
    assert axis.windows_halo == (max(before, after),) * 2  # `overlap` takes as many windows on both sides
    # A halo of windows is as wide on both sides, and its windows are read.
    wide = [range(*axis.windows_of(chunk)) for chunk in range(len(axis.windows) - 1)]
    needed = [[cell for cells in spanned(at, windows) for cell in cells] for windows in wide]
    assert axis.cells_halo == furthest(axis.cells, needed)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 2), (3, 3), (2, 3), (1, 4)])
def test_only_windows_across_an_edge_need_a_halo(kernel, stride, padding):
    if padding >= kernel:
        return
    windows = 12
    at = Along(windows * stride, windows, kernel, stride, padding, 1)
    axis = chunks.of_pooling(at, (0, 4 * stride, 6 * stride, at.size))
    assert axis == chunks.of_scatter(at, (0, 4, 6, windows)) or padding
    assert axis == chunks.of_gather(at, (0, 4, 6, windows), True) or padding
    assert axis.has_halo == bool(padding)
    assert axis.windows == (0, 4, 6, windows)


WINDOWS = {
    "2": (2, 2, 0),
    "3, 2, 1": (3, 2, 1),
    "3, 3": (3, 3, 0),
    "5, 1, 2": (5, 1, 2),
    "4, 2, same": (4, 2, "same"),
    "3, 2, same": (3, 2, "same"),
    "3, 2, same_lower": (3, 2, "same_lower"),
    "2, 3, same": (2, 3, "same"),
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("chunk", [12, 24])
@pytest.mark.parametrize("more", [0, 6])
def test_equal_chunks_pool_to_equal_chunks_and_unpooling_gives_them_back(window, chunk, more):
    kernel, stride, padding = window
    size = 4 * chunk + more
    plan = plan_pooling((1, size), arguments.window(1, kernel, stride, padding, 1), False, False, "int64")
    edges = (*range(0, size, chunk), size)
    axis = chunks.of_pooling(along(plan, 0), edges)
    assert axis.cells == edges
    assert {end - start for start, end in pairwise(axis.windows[:-1])} == {chunk // stride}
    assert axis.windows[-1] - axis.windows[-2] <= chunk // stride
    back = chunks.of_scatter(along(plan, 0), axis.windows)
    assert (back.windows, back.cells) == (axis.windows, edges)


@pytest.mark.parametrize(
    ("given", "merged"),
    [
        ((0, 1, 2, 3, 30), (0, 3, 30)),
        ((0, 10, 11, 30), (0, 10, 30)),
        ((0, 20, 29, 30), (0, 20, 30)),
        ((0, 1, 30), (0, 30)),
        (tuple(range(31)), (*range(0, 27, 3), 30)),  # the chunk from 27 on would have no window
    ],
)
def test_chunks_smaller_than_a_halo_are_merged(given, merged):
    """Windows of 4 cells with stride 1 read 3 cells behind their own."""
    axis = chunks.of_pooling(Along(30, 27, 4, 1, 0, 1), given)
    assert axis.cells == merged
    assert axis.cells_halo == ((0, 3) if len(merged) > 2 else (0, 0))


def test_chunks_without_a_window_are_merged():
    """With stride 5, each fifth cell begins a window; the last chunk begins behind the last window."""
    axis = chunks.of_pooling(Along(30, 6, 2, 5, 0, 1), (0, 7, 9, 12, 27, 30))
    assert axis.cells == (0, 7, 12, 30)
    assert axis.windows == (0, 2, 3, 6)


def test_edges():
    assert edges_of((3, 0, 2, 0)) == (0, 3, 5)
    assert edges_of((0,)) == (0,)
    assert [chunks.edges_outside((size,)) for size in (0, 5, float("nan"))] == [(0, 0), (0, 5), (0,)]
    assert chunks.edges_outside((2, 0, 3)) == (0, 2, 2, 5)
    assert chunks.edges_outside((2, float("nan"))) is None


# --- blocks -----------------------------------------------------------------------------------------------------------


@st.composite
def layouts(draw):
    """Return a Layout of rows of one axis, and its Along."""
    at = draw(axes())
    operation = draw(st.sampled_from(["pool", "scatter", "gather"]))
    behind = max(0, spanned(at._replace(size=10**6), [at.windows - 1])[0].stop - at.size)
    window = arguments.window(1, at.kernel, at.stride, ((at.padding, behind),), at.dilation)
    plan = plan_pooling((2, 3, at.size), window, False, False, "int64")
    at = along(plan, 0)
    if operation == "pool":
        axis = chunks.of_pooling(at, draw(edges(at.size)))
    else:
        plan = plan_unpooling((2, 3, at.windows), window, (at.size,), False)
        given = draw(edges(at.windows))
        axis = chunks.of_scatter(at, given) if operation == "scatter" else chunks.of_gather(at, given, True)
    return Layout(operation, plan, (axis,), ((0, 2, 5), (0, 3))), at, axis


@given(layouts())
def test_the_windows_of_a_block_are_those_of_the_plane(drawn):
    layout, at, axis = drawn
    for chunk in range(len(axis.windows) - 1):
        start, end = axis.windows_of(chunk)
        block = layout.block((1, 0, chunk), (3, 3, end - start))
        first, size = block.cells[2], block.plan.plane[2]
        assert block.origin == (2, 0, start)
        assert (block.plan.pooled, block.plan.batch, block.plan.channels) == ((1, 1, end - start), 3, 3)
        here = along(block.plan, 0)
        for window in range(start, end):
            inside = [cell - first for cell in cells_read(at, window)]
            assert [cell for cell in inside if 0 <= cell < size] == inside
            assert cells_read(here._replace(size=size, padding=block.plan.padding[2]), window - start) == inside
        if layout.operation != "scatter":
            assert (first, first + size) == axis.cells_of(chunk)
        own = axis.cells if layout.operation == "scatter" else axis.windows
        kept = range(first, first + size) if layout.operation == "scatter" else range(start, end)
        if block.kept is not None:
            kept = kept[block.kept[2]]
        assert (kept.start, kept.stop) == (own[chunk], own[chunk + 1])
        assert (block.plan.validate == "windows") == axis.has_halo


def test_equal_layouts_have_equal_tokens():
    from dask.base import tokenize

    def layout(kernel=2, edges=(0, 4, 8), operation="pool", outside=((0, 2),)):
        plan = plan_pooling((2, 8), arguments.window(1, kernel, 2, 0, 1), False, False, "int64")
        return Layout(operation, plan, (chunks.of_pooling(along(plan, 0), edges),), outside)

    found = [tokenize(one) for one in (layout(), layout(1), layout(edges=(0, 8)), layout(operation="gather"))]
    found.append(tokenize(layout(outside=((0, 1, 2),))))
    assert len(set(found)) == len(found)
    assert tokenize(layout()) == found[0]
