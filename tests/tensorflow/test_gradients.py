"""Gradients by TensorFlow: tapes, nested tapes, forward mode, and Jacobians.

For fixed indices every call is linear in its values, so it is a matrix. The oracle computes the matrix and its
transpose, which give the derivatives of any order. Values are integers, so results are exact.
"""

import numpy as np
import pytest
from needs import require

import unpool
from unpool.testing import oracle
from unpool.testing.cases import anywhere, pooling, unique, whole
from unpool.testing.compare import assert_same_bits

tf = require("tensorflow", "the tests of its gradients need it")

from tensorflow_ways import WAYS, Way, every_way, reporting_ways, tensors, ways  # noqa: E402

pytestmark = pytest.mark.one_in(4)  # a case builds graphs, for a second

# A pooling, with or without overlap; (batch, channels) or (channels,); a data format.
PLACES = {
    "row": (pooling((9,), 3, 2, 1), (2,), "channels_first"),
    "row, last": (pooling((9,), 2, 1), (1, 2), "channels_last"),
    "plane": (pooling((5, 6), 3, 2, (1, 0)), (2,), "channels_last"),
    "plane, apart": (pooling((5, 4), 2), (2, 2), "channels_first"),
    "volume": (pooling((4, 3, 5), 2, (2, 1, 2), (0, 0, 1)), (2,), "channels_last"),
    "volume, apart": (pooling((2, 5, 2), 2), (1, 2), "channels_first"),
}
TWO = ("row", "plane, apart")
CALLS = {
    "unpool, last": ("max_unpool", "last"),
    "unpool, sum": ("max_unpool", "sum"),
    "unpool, error": ("max_unpool", "error"),
    "pool": ("max_pool", "sum"),
    "gradient of unpool, last": ("max_unpool_backward", "last"),
    "gradient of unpool, sum": ("max_unpool_backward", "sum"),
    "gradient of pool": ("max_pool_backward", "sum"),
}
# The other calls are the gradients of these.
FIRST = [call for call in CALLS if "gradient" not in call]
every_call = pytest.mark.parametrize("call", CALLS)
first_calls = pytest.mark.parametrize("call", FIRST)


class Map:
    """A call with fixed indices, and its matrix: `there` multiplies by it, and `back` by its transpose."""

    def __init__(self, call, place, made="by pooling", leading=None):
        self.case, usual, self.data_format = PLACES[place]
        self.name, self.mode = CALLS[call]
        self.last = self.data_format == "channels_last"
        large, cells = self.case.shape(leading or usual, self.data_format), int(np.prod(self.case.size))
        # Values are 4 apart, so that a step of 1 does not change the maximum.
        apart = 4.0 * np.random.default_rng(0).permutation(int(np.prod(large))).reshape(large)
        self.indices = self.case.pool(apart, self.data_format)[1]
        small = self.indices.shape
        if self.mode == "error":
            self.indices = unique(small, cells, self.case.rank, self.data_format)
        elif made == "by hand":
            self.indices = anywhere(small, min(cells, int(np.prod(small)) // 2))
        self.widens = self.name in ("max_unpool", "max_pool_backward")
        self.x = apart if self.name == "max_pool" else whole("float64", small if self.widens else large, 1)
        self.tangent = whole("float64", self.x.shape, 2)
        self.weights = whole("float64", large if self.widens else small, 3)

    def __call__(self, x, indices):
        function, named = self.case.function(self.name), self.case.window | {"data_format": self.data_format}
        if self.name == "max_pool":
            return function(x, **named)
        if self.name == "max_pool_backward":
            return function(x, indices, self.case.size, **named)
        if self.name == "max_unpool":
            named["output_size"] = self.case.size
        return function(x, indices, duplicates=self.mode, **named)

    def there(self, x):
        return self._up(x) if self.widens else self._down(x)

    def back(self, y):
        return self._down(y) if self.widens else self._up(y)

    def matrix(self):
        """Return the matrix, whose shape is the output's followed by the input's."""
        units = np.eye(self.x.size, dtype=self.x.dtype).reshape(-1, *self.x.shape)
        columns = np.stack([self.there(unit) for unit in units], -1)
        return columns.reshape(*self.weights.shape, *self.x.shape)

    def _up(self, values):
        return oracle.max_unpool(values, self.indices, self.case.size, self.mode, self.last)

    def _down(self, planes):
        return oracle.max_unpool_backward(planes, self.indices, self.case.rank, self.mode, self.last)


def maps(call, place):
    """Return a Map for the indices of a pooling and, if the call takes indices, one for random indices."""
    made = ["by pooling"] if call in ("pool", "unpool, error") else ["by pooling", "by hand"]
    return [Map(call, place, how) for how in made]


def cubed(y):
    """Return the sum of cubes, whose first three derivatives are integers."""
    return tf.reduce_sum(y * y * y)


# --- reverse mode -----------------------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize(
    ("place", "call"),
    [(place, call) for place in PLACES for call in FIRST if call != "unpool, error" or place in TWO],
)
def test_first_order(way, place, call):
    """Compare with the transpose and with finite differences."""

    @way
    def both(x, indices, weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = subject(x, indices)
        return y, tape.gradient(y, x, weights)

    for subject in maps(call, place):
        x, indices = tensors(subject.x, subject.indices)
        weights = tf.constant(subject.weights)
        y, gradient = both(x, indices, weights)
        assert_same_bits(y.numpy(), subject.there(subject.x))
        assert_same_bits(gradient.numpy(), subject.back(subject.weights))
        for position in [(0,) * x.ndim, tuple(size - 1 for size in x.shape), tuple(size // 2 for size in x.shape)]:
            step = np.zeros_like(subject.x)
            step[position] = 1
            change = both(x + step, indices, weights)[0] - both(x - step, indices, weights)[0]
            assert np.sum(subject.weights * change.numpy()) / 2 == gradient.numpy()[position]


@ways("kernels", "xla")
@first_calls
@pytest.mark.parametrize("place", TWO)
def test_three_orders(way, place, call):
    @way
    def derivatives(x, indices, tangent):
        with tf.GradientTape() as third:
            third.watch(x)
            with tf.GradientTape() as second:
                second.watch(x)
                with tf.GradientTape() as first:
                    first.watch(x)
                    total = cubed(subject(x, indices))
                slope = first.gradient(total, x)
                along = tf.reduce_sum(slope * tangent)
            bend = second.gradient(along, x)
            along = tf.reduce_sum(bend * tangent)
        return slope, bend, third.gradient(along, x)

    for subject in maps(call, place):
        y, change = subject.there(subject.x), subject.there(subject.tangent)
        expected = subject.back(3 * y * y), subject.back(6 * y * change), subject.back(6 * change * change)
        actual = derivatives(*tensors(subject.x, subject.indices), tf.constant(subject.tangent))
        for one, other in zip(actual, expected, strict=True):
            assert_same_bits(one.numpy(), other)


@ways("kernels", "function", "xla")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64", "complex128"])
@pytest.mark.parametrize("call", ["unpool, last", "unpool, sum", "pool"])
def test_other_dtypes(way, call, dtype):
    if call == "pool" and dtype.startswith("complex"):
        pytest.skip("pooling compares, and complex numbers have no order")
    subject = Map(call, "row, last")
    x, indices = tensors(subject.x, subject.indices)
    x, weights = tf.cast(x, dtype), tf.cast(tf.constant(subject.weights), dtype)

    @way
    def gradient(x, indices, weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = subject(x, indices)
        return tape.gradient(y, x, weights)

    actual = gradient(x, indices, weights)
    assert actual.dtype == dtype
    assert_same_bits(actual.numpy(), subject.back(subject.weights).astype(actual.numpy().dtype))


@every_way
def test_a_loser_of_last_gets_no_gradient(way):
    """With "last", an overwritten value has a gradient of zero. With "sum", every value has a gradient."""
    values, indices = tf.constant([[1.0, 2.0, 3.0, 4.0]]), tf.constant([[3, 3, 0, 3]])
    weights = tf.constant([[10.0, 20.0, 30.0, 40.0, 50.0]])

    def gradient(mode):
        @way
        def found(values, indices):
            with tf.GradientTape() as tape:
                tape.watch(values)
                y = unpool.max_unpool1d(values, indices, 2, 1, duplicates=mode)
            return y, tape.gradient(y, values, weights)

        return [tensor.numpy().tolist() for tensor in found(values, indices)]

    assert gradient("last") == [[[3, 0, 0, 4, 0]], [[0, 0, 10, 40]]]
    assert gradient("sum") == [[[3, 0, 0, 7, 0]], [[40, 40, 10, 40]]]


@reporting_ways
def test_integers_have_no_gradient(way):
    @way
    def gradients(values, indices, x):
        with tf.GradientTape(persistent=True) as tape:
            for tensor in (values, indices, x):
                tape.watch(tensor)
            restored = unpool.max_unpool1d(values, indices, 2)
            pooled, places = unpool.max_pool1d(x, 2, return_indices=True)
            scaled = tf.cast(places, tf.float32) * x[0, 0]
        assert tape.gradient(restored, indices) is None
        assert tape.gradient(places, x) is None
        assert tape.gradient(scaled, x) is not None  # the gradient of the factor
        assert tape.gradient(unpool.max_pool1d(indices, 2), indices) is None
        return tape.gradient(pooled, x), tape.gradient(restored, values)

    x = tf.constant([[1.0, 5.0, 3.0, 4.0]])
    back, there = gradients(tf.constant([[7.0, 8.0]]), tf.constant([[0, 3]]), x)
    assert (back.numpy().tolist(), there.numpy().tolist()) == ([[0, 1, 0, 1]], [[1, 1]])


@every_way
@pytest.mark.parametrize("place", ["row", "plane, apart", "volume"])
@pytest.mark.parametrize("mode", ["last", "sum"])
def test_through_both(way, mode, place):
    """An encoder and its decoder: unpooling takes the indices of pooling."""
    pool, up = Map("pool", place), Map(f"unpool, {mode}", place)
    assert np.array_equal(pool.indices, up.indices)
    window = pool.case.window | {"data_format": pool.data_format}

    @way
    def both(x, weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values, indices = pool.case.function("max_pool")(x, return_indices=True, **window)
            unpooling = pool.case.function("max_unpool")
            y = unpooling(2 * values, indices, output_size=x.shape, duplicates=mode, **window)
        return y, tape.gradient(y, x, weights)

    y, gradient = both(tf.constant(pool.x), tf.constant(up.weights))
    assert_same_bits(y.numpy(), up.there(2 * pool.there(pool.x)))
    assert_same_bits(gradient.numpy(), pool.back(2 * up.back(up.weights)))


@every_way
@pytest.mark.parametrize("wanted", [(2, 3), (6, 5)], ids=str)
@pytest.mark.parametrize("word", ["NCHW", "NHWC"])
def test_taking_along_planes(way, word, wanted):
    last = word == "NHWC"
    planes = whole("float64", (2, 4, 3, 2) if last else (2, 2, 4, 3))
    places = anywhere((2, *wanted, 2) if last else (2, 2, *wanted), 12)  # some repeat

    @way
    def derivatives(x, indices, weights):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = cubed(unpool.take_along_plane(x, indices, data_format=word))
            gradient = tape.gradient(y, x)
        return gradient, outer.gradient(gradient, x, weights)

    y = oracle.max_unpool_backward(planes, places, 2, "sum", last)
    weights = whole("float64", planes.shape, 1)
    slopes = 6 * y * oracle.max_unpool_backward(weights, places, 2, "sum", last)
    found = derivatives(*tensors(planes, places), tf.constant(weights))
    for actual, expected in zip(found, (3 * y * y, slopes), strict=True):
        assert_same_bits(actual.numpy(), oracle.max_unpool(expected, places, (4, 3), "sum", last))


@every_way
def test_a_variable(way):
    subject = Map("unpool, last", "plane")
    variable, indices, weights = tf.Variable(subject.x), tf.Variable(subject.indices), tf.constant(subject.weights)

    @way
    def gradient():
        with tf.GradientTape() as tape:
            y = subject(variable, indices)
        return tape.gradient(y, variable, weights)

    assert_same_bits(gradient().numpy(), subject.back(subject.weights))


@ways("function", "xla")
def test_in_a_loop_of_a_graph(way):
    """The gradient of a while loop keeps the tensors of its body in tensor lists."""
    subject = Map("pool", "plane, apart")

    @way
    def gradient(x, weights):
        def body(step, x):
            values, indices = unpool.max_pool2d(x, 2, return_indices=True)
            return step + 1, unpool.max_unpool2d(3 * values, indices, 2, output_size=x.shape)

        with tf.GradientTape() as tape:
            tape.watch(x)
            _, y = tf.while_loop(lambda step, x: step < 3, body, [tf.constant(0), x], maximum_iterations=3)
        return tape.gradient(y, x, weights)

    weights = whole("float64", subject.x.shape, 3)
    # Each iteration triples the maxima, and the maximum of a window stays the maximum.
    expected = subject.back(27 * subject.there(weights))
    assert_same_bits(gradient(tf.constant(subject.x), tf.constant(weights)).numpy(), expected)


@reporting_ways
def test_recomputed(way):
    """`tf.recompute_grad` runs the call again in the backward pass."""
    subject = Map("pool", "plane")

    @way
    def gradient(x, weights):
        again = tf.recompute_grad(lambda x: subject(x, None))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = again(x)
        return tape.gradient(y, x, weights)

    actual = gradient(tf.constant(subject.x), tf.constant(subject.weights))
    assert_same_bits(actual.numpy(), subject.back(subject.weights))


@every_way
@pytest.mark.parametrize("duplicates", ["last", "sum"])
@pytest.mark.parametrize("place", PLACES)
def test_indices_that_are_taps(way, place, duplicates):
    """First and second derivatives by taps are those by positions in the plane."""
    case, leading, data_format = PLACES[place]
    shape = case.shape(leading, data_format)
    x = tf.constant(4.0 * np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape))

    @way
    def derivatives(x, index_format):
        named = case.window | {"data_format": data_format, "index_format": index_format}
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                values, indices = case.function("max_pool")(x, return_indices=True, **named)
                more = named | {"duplicates": duplicates}
                planes = case.function("max_unpool")(values, indices, output_size=case.size, **more)
                taken = case.function("max_unpool_backward")(planes * x, indices, **more)
                total = cubed(planes) + cubed(taken)
            first = inner.gradient(total, x)
        return planes, taken, first, outer.gradient(first, x)

    for found, expected in zip(derivatives(x, "window"), derivatives(x, "plane"), strict=True):
        assert_same_bits(found.numpy(), expected.numpy())


# --- forward mode -----------------------------------------------------------------------------------------------------


def over(function):
    return tf.function(function, autograph=False)


# The kernels run twice: directly, and within a call of a `tf.function`.
forward_ways = pytest.mark.parametrize(
    ("way", "within"),
    [(Way("kernels"), over), *[(Way(name), None) for name in WAYS]],
    ids=["over a function", *WAYS],
)


@forward_ways
@every_call
@pytest.mark.parametrize("place", ["row"])
def test_forward_mode(way, place, call, within):
    """Compare with the matrix, also over a call of a `tf.function`."""

    def inner(x, indices):
        return subject(x, indices)

    inner = within(inner) if within else inner

    @way
    def forward(x, indices, tangent):
        with tf.autodiff.ForwardAccumulator(x, tangent) as accumulator:
            y = inner(x, indices)
        return accumulator.jvp(y)

    for subject in maps(call, place):
        actual = forward(*tensors(subject.x, subject.indices), tf.constant(subject.tangent))
        assert_same_bits(actual.numpy(), subject.there(subject.tangent))


@forward_ways
@first_calls
@pytest.mark.parametrize("place", ["plane, apart"])
def test_forward_over_reverse(way, place, call, within):
    """Compute a Hessian-vector product."""

    def inner(x, indices):
        return subject(x, indices)

    inner = within(inner) if within else inner

    @way
    def product(x, indices, tangent):
        with tf.autodiff.ForwardAccumulator(x, tangent) as accumulator:
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = cubed(inner(x, indices))
            slope = tape.gradient(total, x)
        return accumulator.jvp(slope)

    for subject in maps(call, place):
        actual = product(*tensors(subject.x, subject.indices), tf.constant(subject.tangent))
        change = subject.there(subject.tangent)
        assert_same_bits(actual.numpy(), subject.back(6 * subject.there(subject.x) * change))


# --- compiled ---------------------------------------------------------------------------------------------------------


def reverse(function, x, tangent):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
        total = tf.reduce_sum(y * y)
    return tape.gradient(total, x) + 0 * tangent


def twice(function, x, tangent):
    with tf.GradientTape() as tape:
        tape.watch(x)
        slope = reverse(function, x, tangent)
    return tape.gradient(slope, x, tangent)


def forward(function, x, tangent):
    with tf.autodiff.ForwardAccumulator(x, tangent) as accumulator:
        y = function(x)
    return accumulator.jvp(y)


COMPILED = [{"kernel_size": 2}, {"kernel_size": (1, 3), "stride": 1}, {"kernel_size": 2, "padding": 1}]
# Too long to be unrolled tap by tap, so the program has a loop. Forward mode does not support the loop.
LONG = {"kernel_size": (1, 20), "stride": (1, 5)}


@pytest.mark.parametrize(
    ("window", "derivative", "sizes"),
    [(window, derivative, "known") for window in COMPILED for derivative in (reverse, twice, forward)]
    + [(window, derivative, "unknown") for window in COMPILED for derivative in (reverse, twice)]
    + [(LONG, derivative, sizes) for derivative in (reverse, twice) for sizes in ("known", "unknown")],
    ids=lambda entry: entry.__name__ if callable(entry) else str(entry),
)
@pytest.mark.parametrize("call", ["pool", "both"])
def test_what_is_compiled_is_for_any_values(call, window, derivative, sizes):
    """XLA recompiles for each value that must be constant. Sizes may be constants, arrays may not."""
    shape = (1, 2, 4, 25) if window is LONG else (1, 2, 4, 4)
    x, tangent = np.random.default_rng(0).permutation(4.0 * np.arange(2 * np.prod(shape))).reshape(2, *shape)

    def function(x):
        values, indices = unpool.max_pool2d(x, **window, return_indices=True)
        return values if call == "pool" else unpool.max_unpool2d(values, indices, **window, output_size=shape[2:])

    def derived(*both):
        return derivative(function, *both)

    arguments, spec = tensors(x, tangent), tf.TensorSpec(shape if sizes == "known" else [None] * 4, tf.float64)
    compiled = tf.function(derived, autograph=False, jit_compile=True, input_signature=[spec, spec])
    assert_same_bits(compiled(*arguments).numpy(), derived(*arguments).numpy())
    text = compiled.experimental_get_compiler_ir(*arguments)(stage="hlo")
    layout = text.partition("entry_computation_layout={(")[2].partition(")->")[0]
    assert layout.count(f"f64[{','.join(map(str, shape))}]") == 2, layout


@pytest.mark.parametrize("seed", range(3))
def test_second_order_by_xla_without_values(seed):
    """Windows are padded, and the program returns neither the maxima nor their indices."""
    x = np.random.default_rng(seed).permutation(np.arange(18.0)).reshape(2, 9)

    @tf.function(autograph=False, jit_compile=True)
    def call(x, upstream, planes):
        with tf.GradientTape() as outer:
            outer.watch(upstream)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = unpool.max_pool1d(x, 3, 2, 1)
            gradient = tape.gradient(y, x, upstream)
        return outer.gradient(gradient, upstream, planes)

    indices = unpool.max_pool1d(x, 3, 2, 1, return_indices=True)[1]
    found = call(tf.constant(x), tf.zeros((2, 5), tf.float64), tf.constant(x + 1))
    assert_same_bits(found.numpy(), np.take_along_axis(x + 1, indices, 1))


@pytest.mark.parametrize("place", ["row", "volume"])
def test_forward_mode_by_xla_without_indices(place):
    """Windows are padded, and the program returns nothing but the derivative."""
    subject = Map("pool", place)

    @tf.function(autograph=False, jit_compile=True)
    def derivative(x, tangent):
        return forward(lambda x: subject(x, None), x, tangent)

    for seed in range(5):
        rng = np.random.default_rng(seed)
        x, tangent = rng.permutation(subject.x.ravel()).reshape(subject.x.shape), rng.integers(1, 99, subject.x.shape)
        subject.indices = subject.case.pool(x, subject.data_format)[1]
        actual = derivative(*tensors(x, tangent.astype("float64")))
        assert_same_bits(actual.numpy(), subject.there(tangent.astype("float64")))


# --- Jacobians and maps -----------------------------------------------------------------------------------------------


@ways("kernels", "function")
@pytest.mark.parametrize("pfor", [True, False], ids=["pfor", "loop"])
@first_calls
@pytest.mark.parametrize("place", ["row"])
def test_jacobian(way, place, call, pfor):
    @way
    def jacobian(x, indices):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = subject(x, indices)
        return tape.jacobian(y, x, experimental_use_pfor=pfor)

    for subject in maps(call, place):
        assert_same_bits(jacobian(*tensors(subject.x, subject.indices)).numpy(), subject.matrix())


@ways("kernels", "xla")
@pytest.mark.parametrize("pfor", [True, False], ids=["pfor", "loop"])
@first_calls
def test_batch_jacobian(way, call, pfor):
    @way
    def jacobian(x, indices):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = subject(x, indices)
        return tape.batch_jacobian(y, x, experimental_use_pfor=pfor)

    for subject in maps(call, "plane, apart"):
        whole_matrix = subject.matrix()
        ndim = subject.x.ndim
        expected = np.stack([whole_matrix[(n, *[slice(None)] * (ndim - 1), n)] for n in range(len(subject.x))])
        assert_same_bits(jacobian(*tensors(subject.x, subject.indices)).numpy(), expected)


@ways("kernels", "function")
@first_calls
def test_mapped_over_samples(way, call):
    """Mapping over samples gives the result and the gradient of one call on the batch."""
    subject = Map(call, "plane", leading=(3, 2))

    @way
    def both(x, indices, weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.map_fn(lambda pair: subject(*pair), (x, indices), fn_output_signature=x.dtype)
        return y, tape.gradient(y, x, weights)

    y, gradient = both(*tensors(subject.x, subject.indices), tf.constant(subject.weights))
    assert_same_bits(y.numpy(), subject.there(subject.x))
    assert_same_bits(gradient.numpy(), subject.back(subject.weights))
