"""The arrays of `gridarray`, for the contract of unpool: `pytest tests/contract --arrays gridarray_kind:GridArrays`.

A third party writes such a class for its own backend.  `kinds`, whose `Arrays` it extends, is in tests/support of unpool.
"""

import gridarray
import numpy as np
from kinds import Arrays


class GridArrays(Arrays):
    """Grids whose cells are NumPy's numbers, which keep their bits and round as those of an array."""

    name = "gridarray"
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

    def _back(self, result):
        assert type(result) is gridarray.Grid
        return self.tonumpy(result)
