"""The arrays of `gridarray`, for the contract of unpool: `--arrays gridarray_kind:GridArrays`.

docs/backends.md shows the whole command.  A third party writes such a class for its own backend.
"""

import gridarray
import numpy as np

from unpool.testing import Arrays


class GridArrays(Arrays):
    """Grids whose cells are NumPy's numbers, which keep their bits and round as those of an array."""

    writes = False  # `out=` is written, but has no address for the tests of bytes around it
    one_in = 64  # every loop of the backend is Python's

    def asarray(self, array):
        native = np.asarray(array, array.dtype.newbyteorder("="))
        return gridarray.Grid(native.ravel(), native.shape, native.dtype.name)

    def tonumpy(self, array):
        dtype = np.dtype(array.dtype)
        cells = np.zeros(len(array.cells), dtype)
        for at, cell in enumerate(array.cells):
            cells[at] = dtype.type(cell)
        return cells.reshape(array.shape)

    def run(self, function, *arguments, **named):
        with np.errstate(all="ignore"):  # arrays overflow silently, NumPy's scalars warn
            return super().run(function, *arguments, **named)

    def result_tonumpy(self, result):
        assert type(result) is gridarray.Grid
        return self.tonumpy(result)
