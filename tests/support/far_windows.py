"""Windows far larger than the plane."""

import unpool
from unpool.testing.cases import anywhere, whole

LONG = 2**31 - 1
# No intermediate array may grow with the window. If pooling refuses a window, the pooled size is given.
FAR = {
    "one window": ({"kernel_size": 70000, "padding": "same"}, None),
    "one window, wide apart": ({"kernel_size": 10**5, "stride": LONG, "padding": "same"}, None),
    "windows of everything": ({"kernel_size": 70000, "stride": 1, "padding": "same"}, None),
    "windows of everything, padded": ({"kernel_size": 65536, "stride": 2, "padding": 32767}, None),
    "a short one, far apart": ({"kernel_size": 2, "stride": LONG, "padding": "same"}, None),
    "steps over the plane": ({"kernel_size": 3, "stride": 1, "padding": "same", "dilation": 10000}, None),
    "a last one": ({"kernel_size": (10**5, 1), "stride": (49999, 1), "padding": (50000, 0), "ceil_mode": True}, None),
    "the longest": ({"kernel_size": (1, LONG), "stride": 1, "padding": "same"}, None),
    "the longest, twice": ({"kernel_size": LONG, "stride": 3, "padding": "same"}, (2, 2)),
    "the longest, dilated": ({"kernel_size": LONG, "stride": 3, "padding": "same", "dilation": LONG}, (2, 2)),
    "the longest, in one place": ({"kernel_size": LONG, "padding": "same"}, (1, 1)),
}


def far(window, pooled):
    """Return a function that pools and unpools, and its arguments: a plane, pooled values and indices."""
    x = whole("float32", (1, 2, 4, 5))
    back = {name: entry for name, entry in window.items() if name != "ceil_mode"}
    if pooled is None:
        values, indices = unpool.max_pool2d(x, **window, return_indices=True)
    else:
        indices = anywhere((1, 2, *pooled), 20)
        values = whole("float32", indices.shape)

    def call(x, values, indices):
        pooling = () if pooled else unpool.max_pool2d(x, **window, return_indices=True)
        results = []
        for duplicates in ("last", "sum"):
            named = back | {"duplicates": duplicates}
            planes = unpool.max_unpool2d(values, indices, **named, output_size=(4, 5))
            results += [planes, unpool.max_unpool2d_backward(x, indices, **named)]
        return *results, *pooling

    return call, (x, values, indices)
