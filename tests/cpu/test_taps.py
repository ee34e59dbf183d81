"""Every bad tap is found, in whatever way the kernels read taps: by decoding, by selection or by the table.

One tap is bad at a time.  The oracle gives the good taps, and -1 for the cell of a bad one.
"""

import re

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from unpool.testing import oracle
from unpool.testing.cases import pooled_taps, pooling
from unpool.testing.compare import at

pytestmark = pytest.mark.once  # the kernels of the wheel are the same

# Planes of one run and of several, with padding on each side: the pooling, and the channels that lie side by side.
PLANES = {
    "one run": (pooling((9, 11), 3, 1, 1), 1),
    "one run, rows below": (pooling((12, 13), 3, 2, 1, ceil_mode=True), 1),
    "one run, dilated": (pooling((12, 13), 3, 2, 1, 2), 1),
    "runs of rows": (pooling((70, 75), 3, 2, 1, ceil_mode=True), 1),
    "runs of rows, dilated": (pooling((90, 80), (3, 2), 2, 1, 2), 1),
    "one row": (pooling((2047,), 3, 2, 1), 1),
    "depths of one run": (pooling((5, 6, 7), 3, 2, 1), 1),
    "depths of several runs": (pooling((5, 66, 68), (3, 2, 3), 2, (1, 1, 1)), 1),
    "32 taps": (pooling((40, 37), (4, 8), (3, 5), (2, 4)), 1),
    "33 taps": (pooling((40, 37), (3, 11), (1, 2), (1, 5)), 1),
    "rows too long to decode": (pooling((5, 2300), 3, 2, 1), 1),
    "apart": (pooling((41, 43), 2, 3, 1), 1),
    "apart, pieces of rows": (pooling((5, 3300), 2, 4, 1), 1),
    "channels": (pooling((9, 11), 3, 2, 1), 5),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("duplicates", ["last", "sum"])
@pytest.mark.parametrize("name", ["max_unpool", "max_unpool_backward"])
@pytest.mark.parametrize(("case", "channels"), PLANES.values(), ids=PLANES)
def test_every_bad_tap(case, channels, name, duplicates, threads):
    data_format = "channels_first" if channels == 1 else "channels_last"
    leading, last = (1, channels), data_format == "channels_last"
    taps = pooled_taps(case, leading, data_format)
    cells = [oracle.cells(np.full_like(taps, tap), *case, channels_last=last) for tap in range(case.taps)]
    gathers = name == "max_unpool_backward"
    given = np.ones(case.shape(leading, data_format) if gathers else taps.shape, "float32")
    options = case.window | {"data_format": data_format, "index_format": "window", "duplicates": duplicates}
    if not gathers:
        options["output_size"] = case.size
    # Windows with the same bad taps are of one kind: the first of each, one inside and the last are tried.
    kinds = {}
    for position in np.ndindex(taps.shape):
        outside = tuple(tap for tap in range(case.taps) if cells[tap][position] < 0)
        kinds.setdefault(outside, []).append(position)
    assert len(kinds) > 1
    with threadpool_limits(threads):
        for outside, positions in kinds.items():
            for position in {positions[0], positions[len(positions) // 2], positions[-1]}:
                for tap in (*outside, case.taps, case.taps + 32, 255):
                    broken = taps.copy()
                    broken[position] = tap
                    with pytest.raises(IndexError, match=re.escape(f"{at(position)} = {tap} is no tap of its window")):
                        case.function(name)(given, broken, **options)
