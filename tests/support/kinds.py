"""The frameworks' kinds of arrays that the contract is tested with.

`unpool.testing.arrays` has NumPy's, and the class that all extend.  Each backend has one kind.  JAX has three: eager,
compiled with the CPU kernels, and compiled without them.  TensorFlow has four: eager, in graphs with known or unknown
sizes, and compiled by XLA.
"""

import ctypes
import random
import re
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from threading import get_ident
from unittest.mock import patch

import needs
import numpy as np
import pytest

from unpool.sizes import spatial_axes
from unpool.testing.arrays import KINDS, SLOW, Arrays

# Kinds of arrays that only hand their memory to the CPU kernels get one in this many cases: the cpu kind gets all.
SHARED = 4
# And kinds that trace or compile every call, which takes up to seconds.
TRACED = 384


class FrameworkArrays(Arrays):
    """Arrays of a framework, which may be missing."""

    name: str  # of its backend

    @classmethod
    def installed(cls):
        return find_spec(needs.framework(cls.name)) is not None


class CuPyArrays(FrameworkArrays):
    name = "cuda"
    lacks = ("swapped", "swapped_backwards", "read_only")

    def __init__(self):
        self.cupy = needs.require("cupy", "the tests of CuPy arrays need it")
        needs.require_backend("cuda")

    def asarray(self, array):
        array = np.asarray(array, array.dtype.newbyteorder("="))  # CuPy has no other byte order
        # Copy the memory behind the array, to an address with the same remainder modulo 64.
        low, high = np.lib.array_utils.byte_bounds(array) if array.size else (0, 0)
        odd = low % 64
        memory = np.full(odd + max(high - low, 1), 0xA5, np.uint8)
        memory[odd : odd + high - low] = (ctypes.c_uint8 * (high - low)).from_address(low)
        start = odd + array.ctypes.data - low if array.size else 0
        return self.cupy.ndarray(array.shape, array.dtype, self.cupy.asarray(memory).data + start, array.strides)

    def tonumpy(self, array):
        return self.cupy.asnumpy(array)

    def address(self, array):
        return array.data.ptr

    def result_tonumpy(self, result):
        assert type(result) is self.cupy.ndarray
        assert result.flags.c_contiguous
        return self.tonumpy(result)


class TensorFlowArrays(FrameworkArrays):
    """Eager tensors, which the CPU kernels compute without a copy."""

    name = "tensorflow"
    writes = False
    strides = False
    one_in = SHARED
    # Channels first needs no `data_format` elsewhere.
    marks = (pytest.mark.filterwarnings("ignore::unpool.DataFormatWarning"),)

    def __init__(self):
        self.tf = needs.require("tensorflow", "the tests of TensorFlow tensors need it")
        needs.require_backend("tensorflow")

    def asarray(self, array):
        return self.tf.constant(np.asarray(array, array.dtype.newbyteorder("=")))

    def tonumpy(self, array):
        return array.numpy()

    def result_tonumpy(self, result):
        assert isinstance(result, self.tf.Tensor)
        return self.tonumpy(result)


def asserted(error):
    """Return the message of a failed assert op, without the backslashes that it puts before quotes; None for others."""
    found = re.search(r"assertion failed: \[(.*?)\]$", error.message, re.MULTILINE)
    return found and found[1].replace("\\'", "'")


class TensorFlowFunctionArrays(TensorFlowArrays):
    """Calls in graphs; a graph is kept for equal calls."""

    compiled = False
    one_in = TRACED
    family = "programs of TensorFlow"
    rounds = False

    def __init__(self):
        super().__init__()
        self.kept = {}

    def spec(self, array):
        return self.tf.TensorSpec(array.shape, array.dtype)

    def run(self, function, *arguments, **named):
        places = {f"argument_{place}": value for place, value in enumerate(arguments)} | named
        given = {place: self.asarray(value) for place, value in places.items() if self.is_array(value)}
        specs = {place: self.spec(tensor) for place, tensor in given.items()}
        key = f"{function.__qualname__} {specs} {[None if self.is_array(a) else a for a in arguments]} {named}"
        if key not in self.kept:
            if len(self.kept) == 32:
                self.kept.clear()

            def call(**given):
                positional = [given.get(f"argument_{place}", value) for place, value in enumerate(arguments)]
                return function(*positional, **{name: given.get(name, value) for name, value in named.items()})

            traced = self.tf.function(call, autograph=False, jit_compile=self.compiled)
            self.kept[key] = traced.get_concrete_function(**specs)
        try:
            return self.kept[key](**given)
        except self.tf.errors.InvalidArgumentError as error:
            text = asserted(error)
            if text is None:
                raise
            raise (IndexError if text.startswith("indices[") else ValueError)(text) from error

    def is_array(self, value):
        return isinstance(value, (np.ndarray, self.tf.Tensor))


class TensorFlowUnknownArrays(TensorFlowFunctionArrays):
    """Tensors of a graph whose sizes are all unknown."""

    def spec(self, array):
        return self.tf.TensorSpec([None] * array.ndim, array.dtype)


class TensorFlowXLAArrays(TensorFlowFunctionArrays):
    compiled = True
    reports = False


class TorchArrays(FrameworkArrays):
    """Tensors in CPU memory."""

    name = "torch"
    lacks = ("backwards", "unaligned", "swapped", "swapped_backwards", "read_only")
    one_in = SHARED

    def __init__(self):
        self.torch = needs.require("torch", "the tests of PyTorch tensors need it")
        needs.require_backend("torch")

    def asarray(self, array):
        array = np.asarray(array, array.dtype.newbyteorder("="))
        steps = [stride / array.itemsize for stride in array.strides]
        if not (array.flags.writeable and array.flags.aligned and all(step >= 0 and step % 1 == 0 for step in steps)):
            array = array.copy()  # PyTorch has no such tensor
        if array.dtype.name == "bfloat16":
            return self.torch.from_numpy(array.view(np.uint16)).view(self.torch.bfloat16)
        return self.torch.from_numpy(array)

    def tonumpy(self, array):
        if array.dtype == self.torch.bfloat16:
            import ml_dtypes

            return array.view(self.torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return array.numpy()

    def address(self, array):
        return array.data_ptr()

    def typed(self, memory, dtype):
        return memory.view(getattr(self.torch, np.dtype(dtype).name))

    def result_tonumpy(self, result):
        assert type(result) is self.torch.Tensor
        # The result has the memory format of the argument.
        last = {4: self.torch.channels_last, 5: self.torch.channels_last_3d}.get(result.dim())
        assert result.is_contiguous() or result.is_contiguous(memory_format=last)
        return self.tonumpy(result)


class JAXArrays(FrameworkArrays):
    """Eager arrays, which the CPU kernels compute without a copy."""

    name = "jax"
    writes = False
    strides = False
    one_in = SHARED

    def __init__(self):
        self.jax = needs.require("jax", "the tests of JAX arrays need it")
        needs.require_backend("jax")
        self.jax.config.update("jax_enable_x64", True)  # for 64-bit dtypes

    def asarray(self, array):
        # `jax.numpy.array` would compile a program that does nothing, for each shape.
        return self.jax.device_put(np.array(array, array.dtype.newbyteorder("=")))

    def tonumpy(self, array):
        return np.asarray(array)

    def result_tonumpy(self, result):
        assert isinstance(result, self.jax.Array)
        return self.tonumpy(result)


class JAXJitArrays(JAXArrays):
    """Arguments of programs that call the CPU kernels; the last one is kept for equal calls."""

    one_in = TRACED
    family = "programs of JAX"
    rounds = False
    calls = 0
    last = None, None

    def run(self, function, *arguments, **named):
        places = dict(enumerate(arguments)) | named
        traced = [place for place, value in places.items() if isinstance(value, (np.ndarray, self.jax.Array))]
        self.calls += 1
        if self.calls % 64 == 0:
            self.jax.clear_caches()  # a compiled program takes some megabytes

        def call(arrays):
            given = places | dict(zip(traced, arrays, strict=True))
            return function(*[given.pop(place) for place in range(len(arguments))], **given)

        key = function, str([item for item in places.items() if item[0] not in traced])
        if key != self.last[0]:
            self.last = key, self.jax.jit(call)
        try:
            return self.jax.block_until_ready(self.last[1]([self.asarray(places[place]) for place in traced]))
        except (self.jax.errors.JaxRuntimeError, ValueError) as error:  # a ValueError from the second call on
            text = kernel_message(error)
            if not text:
                raise
            raise (IndexError if text.startswith("indices[") else ValueError)(text) from error


def kernel_message(error):
    """Return the message of a kernel in the error of a JAX program, or an empty string."""
    # JAX 0.10.0 puts words of its own in front where the program ended before its result was used.
    return str(error).partition("OUT_OF_RANGE: ")[2].removeprefix("Buffer Definition Event: ")


class JAXOperationsArrays(JAXJitArrays):
    """The same, without the kernels: the programs of other devices."""

    reports = False

    def run(self, function, *arguments, **named):
        with self.without_kernels():
            return super().run(function, *arguments, **named)

    @staticmethod
    def without_kernels():
        """Return a context in which this thread lowers programs without the kernels."""
        from unpool_backends.jax import native

        serves, here = native.serves, get_ident()
        return patch.object(native, "serves", lambda context: get_ident() != here and serves(context))


class DaskArrays(FrameworkArrays):
    """NumPy arrays in random chunks; equal calls have equal chunks.

    Each argument has chunks of its own along the batch and the channels.  Spatial axes are chunked in poolings, and
    where indices are taps.  A position in a plane may lie outside of its chunk, which would be refused.
    """

    name = "dask"
    writes = False
    one_in = 2 * SLOW  # each case builds graphs

    def __init__(self):
        self.dask = needs.require("dask", "the tests of Dask arrays need it")
        needs.require_backend("dask")
        self.da = import_module("dask.array")

    def asarray(self, array):
        return self.chunked(array, range(array.ndim))

    def chunked(self, array, axes, seed=""):
        """Return an array with random chunks along these axes, and one chunk along each other one."""
        rng = random.Random(f"{array.shape} {array.dtype} {seed}")
        return self.da.from_array(array, tuple([cut(n, rng) if k in axes else (n,) for k, n in enumerate(array.shape)]))

    def run(self, function, *arguments, **named):
        any_axis = re.match(r"max_pool\dd$", function.__name__) or named.get("index_format") == "window"

        def there(place, argument):
            if not isinstance(argument, np.ndarray) or argument.ndim < 2:
                return argument
            plane = self.plane_axes(function, argument.ndim, named.get("data_format") or "")
            axes = [axis for axis in range(argument.ndim) if any_axis or axis not in plane]
            return self.chunked(argument, axes, place)

        given = [there(place, argument) for place, argument in enumerate(arguments)]
        return function(*given, **{place: there(place, argument) for place, argument in named.items()})

    @staticmethod
    def plane_axes(function, ndim, data_format):
        """Return the spatial axes of a call."""
        if found := re.search(r"(\d)d", function.__qualname__):
            rank = int(found[1])
        else:  # TensorFlow's words name each axis; the others stand for planes, and for volumes of five axes
            rank = len(data_format) - 2 if data_format.startswith("N") else max(2, ndim - 2)
        return range(ndim)[spatial_axes(ndim, rank, data_format.endswith(("C", "last")))]

    def tonumpy(self, array):
        return array.compute(scheduler="sync")

    def result_tonumpy(self, result):
        """Compute the blocks.  What was known before must be true of them."""
        assert type(result) is self.da.Array
        found, parts = np.empty(result.shape, result.dtype), result.blocks.ravel()
        try:
            blocks = self.dask.compute(*parts, scheduler="threads" if len(parts) % 2 else "sync")
        except (IndexError, ValueError):
            raise self.first_error(parts) from None
        for block, place in zip(blocks, self.da.core.slices_from_chunks(result.chunks), strict=True):
            assert type(block) is np.ndarray
            assert (block.shape, block.dtype) == (found[place].shape, found.dtype)
            found[place] = block
        return found

    @staticmethod
    def first_error(parts):
        """Return the error that NumPy's call raises: bad indices go before repeated ones, and first positions first."""
        errors = []
        for part in parts:
            try:
                part.compute(scheduler="sync")
            except (IndexError, ValueError) as error:
                named = re.findall(r"indices\[([\d, ]+)\]", str(error))
                if not named:
                    raise
                place = [int(entry) for entry in named[-1].split(",")]  # of a pair the one that repeats the other
                errors.append((type(error) is ValueError, place, error))
        return min(errors, key=lambda entry: entry[:2])[2]


def cut(size, rng):
    """Return sizes of up to four chunks, whose sum is `size`."""
    edges = sorted({0, size, *(rng.randint(0, size) for _ in range(rng.randint(0, 3)))})
    return tuple([end - start for start, end in pairwise(edges)]) or (0,)


KINDS |= {
    "cuda": CuPyArrays,
    "tensorflow": TensorFlowArrays,
    "tensorflow-function": TensorFlowFunctionArrays,
    "tensorflow-unknown": TensorFlowUnknownArrays,
    "tensorflow-xla": TensorFlowXLAArrays,
    "torch": TorchArrays,
    "jax": JAXArrays,
    "jax-jit": JAXJitArrays,
    "jax-operations": JAXOperationsArrays,
    "dask": DaskArrays,
}
