"""The kinds of arrays that the contract is tested with, each made of NumPy arrays and turned back.

One a backend; JAX's twice, eagerly and compiled; TensorFlow's four times: eagerly, in graphs that know all sizes or
none, and compiled by XLA.
"""

import ctypes
import re
from importlib import import_module
from importlib.util import find_spec

import needs
import numpy as np
import pytest

# Kinds of arrays that only hand their memory to the CPU kernels get one in this many cases: the cpu kind gets all.
SHARED = 4


class Arrays:
    """One kind of array: how it is made of a NumPy array, and how it becomes one again."""

    name: str
    writes = True  # whether there is `out=`
    reports = True  # whether a bad or repeated index is an error; else, a bad one is dropped
    one_in = 1  # one in this many cases of a test runs
    rounds = True  # whether sums are rounded at every step, and keep denormals, as NumPy's

    def some(self, values):
        """Return the values that a test goes through: two of them where each call takes long."""
        values = list(values)
        return values if self.one_in <= SHARED else values[:: max(1, -(-len(values) // 2))]

    @classmethod
    def installed(cls):
        """Return whether the library that defines such arrays is installed."""
        return find_spec(needs.framework(cls.name)) is not None

    def asarray(self, array):
        """Return an array of this kind, which lies in memory as the NumPy array does, as far as the kind knows how."""
        raise NotImplementedError

    def tonumpy(self, array):
        raise NotImplementedError

    def address(self, array):
        """The address of the first element."""
        raise NotImplementedError

    def alignment(self, dtype):
        """What the address of an element is a multiple of."""
        raise NotImplementedError

    def typed(self, memory, dtype):
        """Return an array of bytes as one of another dtype, where it lies."""
        return memory.view(dtype)

    def run(self, function, *arguments, **named):
        """Call a public function with NumPy arrays turned into this kind."""

        def there(argument):
            return self.asarray(argument) if isinstance(argument, np.ndarray) else argument

        return function(*map(there, arguments), **{name: there(argument) for name, argument in named.items()})

    def call(self, function, *arguments, **named):
        """Call a public function with NumPy arrays turned into this kind, and its results turned back."""
        result = self.run(function, *arguments, **named)
        return tuple(map(self._back, result)) if isinstance(result, tuple) else self._back(result)

    def _back(self, result):
        assert type(result) is type(self.asarray(np.zeros(1)))  # array kind in is array kind out
        assert result.flags.c_contiguous
        return self.tonumpy(result)


class NumPyArrays(Arrays):
    name = "cpu"

    def asarray(self, array):
        return array

    def tonumpy(self, array):
        return array

    def address(self, array):
        return array.ctypes.data

    def alignment(self, dtype):
        return np.dtype(dtype).alignment


class CuPyArrays(Arrays):
    name = "cuda"

    def __init__(self):
        self.cupy = needs.require("cupy", "CuPy arrays are what the backend is for")
        needs.require_backend("cuda")

    def asarray(self, array):
        array = np.asarray(array, array.dtype.newbyteorder("="))  # there is no other byte order
        # The memory behind it, byte by byte, at an address that is as odd.
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

    def alignment(self, dtype):
        return np.dtype(dtype).itemsize  # of complex numbers, too


class TensorFlowArrays(Arrays):
    """Eager tensors: the CPU's kernels, without a copy."""

    name = "tensorflow"
    writes = False
    one_in = SHARED

    def __init__(self):
        self.tf = needs.require("tensorflow", "its tensors are what the backend is for")
        needs.require_backend("tensorflow")

    def asarray(self, array):
        return self.tf.constant(np.asarray(array, array.dtype.newbyteorder("=")))

    def tonumpy(self, array):
        return array.numpy()

    def _back(self, result):
        assert isinstance(result, self.tf.Tensor)
        return self.tonumpy(result)


class TensorFlowFunctionArrays(TensorFlowArrays):
    """Calls in graphs, each of which is kept for some calls like it."""

    compiled = False
    one_in = 96
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
            found = re.search(r"assertion failed: \[(.*)\]$", str(error), re.MULTILINE | re.DOTALL)
            if found is None:
                raise
            text = found[1].partition("]\n")[0]
            raise (IndexError if text.startswith("indices[") else ValueError)(text) from error

    def is_array(self, value):
        return isinstance(value, (np.ndarray, self.tf.Tensor))


class TensorFlowUnknownArrays(TensorFlowFunctionArrays):
    """Of no size that is known before the run."""

    def spec(self, array):
        return self.tf.TensorSpec([None] * array.ndim, array.dtype)


class TensorFlowXLAArrays(TensorFlowFunctionArrays):
    compiled = True
    reports = False


class TorchArrays(Arrays):
    """Tensors of the CPU."""

    name = "torch"
    one_in = SHARED

    def __init__(self):
        self.torch = needs.require("torch", "its tensors are what the backend is for")
        needs.require_backend("torch")

    def asarray(self, array):
        array = np.asarray(array, array.dtype.newbyteorder("="))
        steps = [stride / array.itemsize for stride in array.strides]
        if not (array.flags.writeable and array.flags.aligned and all(step >= 0 and step % 1 == 0 for step in steps)):
            array = array.copy()  # as which there is no tensor
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

    def alignment(self, dtype):
        return np.dtype(dtype).itemsize  # of complex numbers, too

    def typed(self, memory, dtype):
        return memory.view(getattr(self.torch, np.dtype(dtype).name))

    def _back(self, result):
        assert type(result) is self.torch.Tensor
        # As what was given, which may be one of PyTorch's memory formats.
        last = {4: self.torch.channels_last, 5: self.torch.channels_last_3d}.get(result.dim())
        assert result.is_contiguous() or result.is_contiguous(memory_format=last)
        return self.tonumpy(result)


class JAXArrays(Arrays):
    """Arrays with values: the CPU's kernels, without a copy."""

    name = "jax"
    writes = False
    one_in = SHARED

    def __init__(self):
        self.jax = needs.require("jax", "its arrays are what the backend is for")
        needs.require_backend("jax")
        self.jax.config.update("jax_enable_x64", True)  # or there are no 64-bit dtypes

    def asarray(self, array):
        return self.jax.numpy.array(np.asarray(array, array.dtype.newbyteorder("=")))

    def tonumpy(self, array):
        return np.asarray(array)

    def _back(self, result):
        assert isinstance(result, self.jax.Array)
        return self.tonumpy(result)


class JAXJitArrays(JAXArrays):
    """Calls that are compiled, each anew."""

    one_in = 96
    reports = False
    rounds = False
    calls = 0

    def run(self, function, *arguments, **named):
        places = dict(enumerate(arguments)) | named
        traced = [place for place, value in places.items() if isinstance(value, (np.ndarray, self.jax.Array))]
        self.calls += 1
        if self.calls % 64 == 0:
            self.jax.clear_caches()  # a program takes some megabytes

        def call(arrays):
            given = places | dict(zip(traced, arrays, strict=True))
            return function(*[given.pop(place) for place in range(len(arguments))], **given)

        return self.jax.jit(call)([self.asarray(places[place]) for place in traced])


KINDS = {
    "cpu": NumPyArrays,
    "cuda": CuPyArrays,
    "tensorflow": TensorFlowArrays,
    "tensorflow-function": TensorFlowFunctionArrays,
    "tensorflow-unknown": TensorFlowUnknownArrays,
    "tensorflow-xla": TensorFlowXLAArrays,
    "torch": TorchArrays,
    "jax": JAXArrays,
    "jax-jit": JAXJitArrays,
}


def find(name):
    """Return a kind by its name, or by module:Class; None if there is none of that name."""
    module, colon, attribute = name.partition(":")
    return getattr(import_module(module), attribute) if colon else KINDS.get(name)


# Of tests that need more of a kind of arrays than every kind has.
needs_out = pytest.mark.kinds("writes")
needs_reports = pytest.mark.kinds("reports")
