"""Arrays as lists of Python numbers, and their backend for unpool: a complete third-party plugin.

It shows the work of a backend: everything but the values comes from the Plan. It is not meant to be fast: every number
is a Python object, and every loop a Python loop.
"""

from itertools import product

from unpool import errors


class Grid:
    """Cells in a row-major list, a shape, and the name of a dtype: all that unpool needs of an array."""

    def __init__(self, cells, shape, dtype):
        self.cells, self.shape, self.dtype = list(cells), tuple(shape), dtype


class GridBackend:
    """The three primitives of `unpool.Backend` on Grids."""

    index_formats = ("plane", "window")

    def pool(self, input, plan, out):
        values, indices = [], []
        for window, start, step in _places(plan):
            best = None
            for tap, cell in enumerate(_taps(window, plan)):
                if cell is None:
                    continue
                value = input.cells[start + cell * step]
                if best is None or value > best or value != value:
                    best, index = value, tap if plan.index_format == "window" else cell
            values.append(best)
            indices.append(index)
        out_values, out_indices = out or (None, None)
        return (
            _deliver(values, plan.pooled_shape, input.dtype, out_values),
            None if plan.index_dtype is None else _deliver(indices, plan.pooled_shape, plan.index_dtype, out_indices),
        )

    def scatter(self, values, indices, plan, duplicates, out):
        planes = [0] * (plan.batch * plan.channels * plan.cells)
        for value, target in zip(values.cells, _targets(indices, plan, duplicates), strict=True):
            planes[target] = planes[target] + value if duplicates == "sum" else value
        return _deliver(planes, plan.plane_shape, values.dtype, out)

    def gather(self, grad, indices, plan, duplicates, out):
        targets = _targets(indices, plan, duplicates)
        winners = {target: at for at, target in enumerate(targets)}
        values = [
            0 if duplicates == "last" and winners[target] != at else grad.cells[target]
            for at, target in enumerate(targets)
        ]
        return _deliver(values, plan.pooled_shape, grad.dtype, out)


BACKEND = GridBackend()


def _places(plan):
    """Yield, for every pooled value in order, its window, the start of its plane, and the step between cells."""
    for sample in range(plan.batch):
        start = sample * plan.channels * plan.cells
        if plan.channels_last:
            for window, channel in product(range(plan.windows), range(plan.channels)):
                yield window, start + channel, plan.channels
        else:
            for channel, window in product(range(plan.channels), range(plan.windows)):
                yield window, start + channel * plan.cells, 1


def _taps(window, plan):
    """Return the cell of each tap of a window, or None for a tap in the padding."""
    along = []
    for axis, at in enumerate(_position(window, plan.pooled)):
        corner = at * plan.stride[axis] - plan.padding[axis]
        reach = range(corner, corner + plan.kernel[axis] * plan.dilation[axis], plan.dilation[axis])
        along.append([step if 0 <= step < plan.plane[axis] else None for step in reach])
    _, height, width = plan.plane
    return [None if None in (d, h, w) else (d * height + h) * width + w for d, h, w in product(*along)]


def _targets(indices, plan, duplicates):
    """Return the cell of the planes that each index points to; raise for the first bad index, or else repeated one."""
    targets, first, repeated = [], {}, None
    for at, (window, start, step) in enumerate(_places(plan)):
        index, position = int(indices.cells[at]), _position(at, indices.shape)
        if plan.index_format == "window":
            index = _cell(window, index, position, plan)
        elif not 0 <= index < plan.cells:
            raise errors.bad_index(position, index, plan.spatial, plan.sized_by)
        elif plan.validate == "windows" and index not in _taps(window, plan):
            raise errors.outside_window(position, index, plan.spatial, plan.window, plan.sized_by)
        target = start + index * step
        targets.append(target)
        if first.setdefault(target, position) != position and repeated is None:
            repeated = first[target], position, index
    if duplicates == "error" and repeated is not None:
        by_taps = plan.index_format == "window"
        raise errors.duplicate_tap(*repeated[:2]) if by_taps else errors.duplicate_index(*repeated)
    return targets


def _cell(window, tap, position, plan):
    """Return the cell of a tap of a window; raise if there is none."""
    cells = _taps(window, plan)
    if not 0 <= tap < len(cells) or cells[tap] is None:
        raise errors.bad_tap(position, tap, plan.spatial, plan.window, plan.sized_by)
    return cells[tap]


def _position(flat, shape):
    position = []
    for size in reversed(shape):
        flat, at = divmod(flat, size)
        position.insert(0, at)
    return tuple(position)


def _deliver(cells, shape, dtype, out):
    if out is None:
        return Grid(cells, shape, dtype)
    out.cells[:] = cells
    return out
