"""The same problems through every kind of arrays in one process: the bits and the errors are NumPy's.

The kinds take turns, problem by problem, so each library's threads run after every other's, and later all at once.
The class of a kind says where its results may differ, and whether it is slow.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from itertools import product
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from kinds import TRACED
from threadpoolctl import threadpool_limits

import unpool
from unpool import registry
from unpool.conventions import CONVENTIONS
from unpool.testing import NumPyArrays, oracle
from unpool.testing.cases import DUPLICATES, FLOATS, LARGE, REALS, VALUES, crowded, whole
from unpool.testing.compare import assert_same_bits, assert_same_sums
from unpool.testing.plugin import chosen, named
from unpool.testing.strategies import calls, foreign, hostile, layouts, poolable_calls, repeated, valid, values

NUMPY = NumPyArrays()
PLUGIN = {"gridarray": named("gridarray_kind:GridArrays")} if "gridarray" in registry.plugins() else {}
KINDS = {name: kind for name, kind in (chosen(None) | PLUGIN).items() if kind is not NumPyArrays}
FEW = 6  # compiled kinds get one in so many groups of problems


class Problem(NamedTuple):
    """A call on NumPy arrays."""

    function: Callable[..., Any]
    arrays: tuple[Any, ...]
    named: dict[str, Any]
    adds: bool = False  # True if the result holds sums
    dropped: Callable[[], Any] | None = None  # the result where bad and repeated indices are not reported

    def outcome(self, kind):
        """Return a tuple of results as NumPy arrays, or the error as a text."""
        try:
            found = kind.call(self.function, *self.arrays, **self.named)
        except (IndexError, TypeError, ValueError) as error:
            if "indices[" not in str(error) and "`" not in str(error):
                raise  # Python's own
            return f"{type(error).__name__}: {error}"
        return found if isinstance(found, tuple) else (found,)

    def check(self, kind, expected):
        """Assert that a kind of arrays gives NumPy's outcome, or drops indices if it does not report them."""
        actual = self.outcome(kind)
        if isinstance(expected, str) and "indices[" in expected:
            if self.dropped is None and kind.one_in >= TRACED:
                return  # programs do not check the values of `convert_indices`
            if not kind.reports:
                expected = (self.dropped(),)
        texts = [outcome if isinstance(outcome, str) else "no error" for outcome in (actual, expected)]
        assert texts[0] == texts[1]
        if not isinstance(expected, str):
            for one, other in zip(actual, expected, strict=True):
                assert_same_sums(kind, one, other) if self.adds else assert_same_bits(one, other)


# --- problems ---------------------------------------------------------------------------------------------------------

# Problems are drawn in groups, which differ in the elements of their arrays alone: programs are compiled once for each.
index_formats = st.sampled_from(["plane", "window"])
positions = st.sampled_from(["int64", "int32"])
reals, every_dtype = (st.sampled_from([*FLOATS, *dtypes]) for dtypes in (REALS, VALUES))  # floats more often


@st.composite
def pools(draw):
    call, dtype = draw(calls()), draw(reals)
    formats = {"data_format": call.data_format, "index_format": draw(index_formats)}
    arguments = call.case.arguments | formats | {"return_indices": True, "index_dtype": draw(st.none() | positions)}
    layout = draw(layouts(dtype))
    inputs = [layout(draw(values(dtype, call.plane_shape))) for _ in range(4)]
    return [Problem(call.case.function("max_pool"), (x,), arguments) for x in inputs]


@st.composite
def moves(draw, name):
    call, index_format = draw(poolable_calls()), draw(index_formats)
    dtype = draw(reals if name == "max_pool_backward" else every_dtype)
    index_dtype = draw(positions if index_format == "plane" else st.sampled_from(["int64", "int32", "uint8"]))
    duplicates = "sum" if name == "max_pool_backward" else draw(st.sampled_from(DUPLICATES))
    formats = {"data_format": call.data_format, "index_format": index_format}
    arguments = call.case.window | formats | {"validate": draw(st.sampled_from([True, "windows"]))}
    arguments |= {
        "max_unpool": {"output_size": call.case.size, "duplicates": duplicates},
        "max_unpool_backward": {"duplicates": duplicates},
        "max_pool_backward": {"input_size": call.plane_shape},
    }[name]
    lay, lay_indices = draw(layouts(dtype)), draw(layouts(index_dtype))
    found = []
    for kind in (valid, foreign, repeated, hostile):
        indices = draw(kind(call, index_format)).astype(index_dtype)
        given = draw(values(dtype, call.plane_shape if name == "max_unpool_backward" else indices.shape))
        dropped = partial(dropping, call, given, indices, arguments)
        adds = duplicates == "sum" and name != "max_unpool_backward"
        found.append(Problem(call.case.function(name), (lay(given), lay_indices(indices)), arguments, adds, dropped))
    return found


def dropping(call, given, indices, arguments):
    """Return the result without the bad indices, by the oracle."""
    cells, last = call.cells_of(indices, arguments.get("index_format", "plane")), call.channels_last
    kept = cells >= 0
    if arguments.get("validate") == "windows":
        kept = oracle.own(cells, *call.case, channels_last=last)
    duplicates = arguments.get("duplicates", "sum")
    mode = "last" if duplicates == "error" else duplicates
    gathers = "output_size" not in arguments and "input_size" not in arguments
    return oracle.dropped(given, cells, kept, call.case.size, mode, gathers, last)


@st.composite
def takings(draw):
    call, dtype, index_dtype = draw(poolable_calls()), draw(every_dtype), draw(positions)
    arguments = {"data_format": WORDS[call.case.rank][call.channels_last]}
    found = []
    for kind in (foreign, hostile):
        planes, indices = draw(values(dtype, call.plane_shape)), draw(kind(call)).astype(index_dtype)
        dropped = partial(dropping, call, planes, indices, arguments)
        found.append(Problem(unpool.take_along_plane, (planes, indices), arguments, dropped=dropped))
    return found


WORDS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


@st.composite
def conversions(draw):
    """Draw indices of a convention; where they are not of a pooling, some are outside their windows, or bad.

    They are int64, as the result is where a program does not know the sizes.  None are both, since blocks of Dask's
    report what they find.
    """
    call = draw(poolable_calls().filter(lambda call: len(call.leading) == 2))
    source, target = draw(st.sampled_from(CONVENTIONS)), draw(st.sampled_from(CONVENTIONS))
    of_plane = {"output_size": call.plane_shape, "data_format": call.data_format}
    windowed = "window" in (source, target) or draw(st.booleans())
    window = call.case.window if windowed else {}
    found = []
    for kind in (valid, foreign) if windowed else (valid, foreign, hostile):
        indices = draw(kind(call))
        with suppress(IndexError):
            encoding = of_plane | (window if source == "window" else {})
            indices = unpool.convert_indices(indices, "plane", source, **encoding).astype("int64")
        found.append(Problem(unpool.convert_indices, (indices, source, target), of_plane | window))
    return found


# The number of groups of each function, and how they are drawn.
DRAWN = {
    "max_pool": (14, pools()),
    "max_unpool": (14, moves("max_unpool")),
    "max_unpool_backward": (14, moves("max_unpool_backward")),
    "max_pool_backward": (14, moves("max_pool_backward")),
    "take_along_plane": (14, takings()),
    "convert_indices": (6, conversions()),
}


@cache
def group(function, nth):
    """Return the nth group of problems of a function, always the same one."""
    found = []

    # The first example is the smallest.  Further ones would often repeat parts of the second.
    @seed(nth)
    @settings(max_examples=2, database=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck])
    @given(DRAWN[function][1])
    def collect(problems):
        found.append(problems)

    collect()
    return found[-1]


# --- one after the other ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def make():
    """Return a function that makes each kind of arrays once."""
    return cache(lambda name: KINDS[name]())


def gets(name, kind, function, nth):
    """Return whether a kind gets a group: compiled kinds get few, and the plugin cannot convert indices."""
    if (name, function) == ("gridarray", "convert_indices"):
        return False
    return kind.one_in < TRACED or (nth + list(DRAWN).index(function)) % FEW == 0


TURNS = [
    pytest.param(function, nth, name, id=f"{function}-{nth}-{name}")
    for function, (number, _) in DRAWN.items()
    for nth, (name, kind) in product(range(number), KINDS.items())
    if gets(name, kind, function, nth)
]


@pytest.mark.parametrize(("function", "nth", "name"), TURNS)
def test_the_kinds_take_turns(make, function, nth, name):
    for problem in group(function, nth):
        problem.check(make(name), problem.outcome(NUMPY))


# --- all at once ------------------------------------------------------------------------------------------------------


def large_problems():
    """Return problems that the kernels share among several threads."""
    found = []
    for case, leading, data_format in LARGE.values():
        x = crowded("float32", case.shape(leading, data_format))
        window = case.window | {"data_format": data_format}
        pool = Problem(case.function("max_pool"), (x,), window | {"return_indices": True})
        pooled, indices = pool.outcome(NUMPY)
        bad = indices.copy()
        bad.flat[bad.size // 3 :: bad.size // 3] = -1
        dropped = partial(oracle.dropped, pooled, bad, bad >= 0, case.size, "last", False, data_format[9:] == "last")
        up, last = case.function("max_unpool"), window | {"output_size": case.size}
        found += [
            pool,
            Problem(up, (pooled, indices), last),
            Problem(up, (pooled, indices), last | {"duplicates": "sum"}, adds=True),
            Problem(up, (pooled, bad), last, dropped=dropped),
            Problem(case.function("max_unpool_backward"), (x, indices), window),
        ]
    return found


def test_all_kinds_at_once(make):
    """Each kind has a thread, with a team of OpenMP; between two problems, its library multiplies matrices."""
    solved = [(problem, problem.outcome(NUMPY)) for problem in large_problems()]
    square = whole("float32", (300, 300))
    product = square @ square

    def work(name, kind):
        matrix = kind.asarray(square)
        for problem, expected in kind.some(Random(name).sample(solved, len(solved))):
            problem.check(kind, expected)
            if hasattr(matrix, "__matmul__"):
                assert_same_bits(kind.tonumpy(matrix @ matrix), product)

    made = {"cpu": NUMPY} | {name: make(name) for name in KINDS}
    with ThreadPoolExecutor(len(made), initializer=threadpool_limits, initargs=(2, "openmp")) as pool:
        list(pool.map(work, made, made.values()))
