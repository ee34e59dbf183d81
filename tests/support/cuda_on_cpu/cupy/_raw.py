"""`cupy.RawModule` and `cupy.RawKernel`, with the checks that CuPy and CUDA make of a launch, and more."""

import ctypes
import math

import numpy

from cupy import _machine, cuda, cuda_on_cpu

_GRID = (2**31 - 1, 2**16 - 1, 2**16 - 1)
_BLOCK = (1024, 1024, 64)
_DEFAULT_DYNAMIC_SHARED = 48 << 10
_PARAMETER = 16  # alignment of each parameter in bytes: the largest of any CUDA type


class RawModule:
    def __init__(self, *, code=None, options=(), backend="nvrtc", name_expressions=None):
        if not isinstance(code, str):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        if not isinstance(options, tuple):
            raise TypeError(f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})")
        self.code = code
        self.options = options
        self._module = None

    def compile(self, log_stream=None):
        try:
            self._module = _machine.Module(self.code, self.options)
        except _machine.CompileError as error:
            raise cuda.compiler.CompileException(str(error), self.code, "kernel.cu", self.options) from None

    def get_function(self, name):
        if self._module is None:
            self.compile()
        return RawKernel._of(self, name)


class RawKernel:
    def __init__(self, code, name, options=()):
        self.__dict__ = RawModule(code=code, options=options).get_function(name).__dict__

    @classmethod
    def _of(cls, module, name):
        self = cls.__new__(cls)
        self.code = module.code
        self.options = module.options
        self.name = self.__name__ = name
        found = module._module.kernel(name)
        if found is None:
            raise cuda.driver.CUDADriverError(500)
        self._run, self._sizes, self._most_threads = found
        self._static_shared = module._module.shared
        self._dynamic_shared = {}  # by device; absent where it was not set
        return self

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._dynamic_shared.get(cuda.Device().id, _DEFAULT_DYNAMIC_SHARED)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        if not 0 <= size <= cuda_on_cpu.attributes["MaxSharedMemoryPerBlockOptin"]:
            raise cuda.driver.CUDADriverError(1)
        self._dynamic_shared[cuda.Device().id] = size

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        for sizes in (grid, block):
            if not isinstance(sizes, tuple):
                raise TypeError(f"Argument has incorrect type (expected tuple, got {type(sizes).__name__})")
        grid = tuple(max(1, size) for size in (*grid, 1, 1)[:3])  # as CuPy does: one block at least
        block = tuple(max(1, size) for size in (*block, 1, 1)[:3])
        threads = math.prod(block)
        fits = all(size <= most for size, most in zip(grid + block, _GRID + _BLOCK, strict=True))
        if not fits or threads > _BLOCK[0] or shared_mem > self.max_dynamic_shared_size_bytes:
            raise cuda.driver.CUDADriverError(1)
        if threads > self._most_threads:
            raise cuda.driver.CUDADriverError(701)
        order, seed = cuda_on_cpu.next_order(self.name)
        device, stream = cuda.Device().id, stream or cuda.get_current_stream()
        launch = cuda_on_cpu.Launch(self.name, grid, block, shared_mem, device, stream.ptr, order, seed)
        cuda_on_cpu.launches.append(launch)
        error = _machine.machine().cuda_on_cpu_launch(
            self._run,
            self._parameters(args),
            (ctypes.c_uint * 6)(*grid, *block),
            shared_mem,
            *self._static_shared,
            device,
            cuda_on_cpu.ORDERS.index(order),
            seed or 0,
            cuda_on_cpu.patience,
        )
        if error is not None:
            raise cuda_on_cpu.KernelError(f"{self.name}: {error.decode()} ({order}, seed {seed})")

    def _parameters(self, args):
        """Return pointers to the arguments. Check their number and sizes, which CuPy does not."""
        if len(args) != len(self._sizes):
            raise TypeError(f"{self.name} takes {len(self._sizes)} arguments, and {len(args)} were passed")
        values = [_passed(value) for value in args]
        for at, (value, size) in enumerate(zip(values, self._sizes, strict=True)):
            if len(value) != size:
                raise TypeError(
                    f"argument {at} of {self.name} takes {size} bytes, and {len(value)} were passed: {args[at]!r}"
                )
        places = [0]
        for value in values:
            places.append(places[-1] + -(-len(value) // _PARAMETER) * _PARAMETER)
        memory = (ctypes.c_char * (places[-1] + _PARAMETER))()
        begin = -(-ctypes.addressof(memory) // _PARAMETER) * _PARAMETER
        for place, value in zip(places, values, strict=False):
            ctypes.memmove(begin + place, value, len(value))
        pointers = (ctypes.c_void_p * len(places))(*(begin + place for place in places))
        pointers.memory = memory  # keeps the memory alive
        return pointers


def _passed(value):
    """Return the bytes that CuPy passes to a kernel for a value."""
    from cupy import _check_dtype, ndarray

    if value is None:
        return bytes(8)
    if isinstance(value, ndarray):
        return value.data.ptr.to_bytes(8, "little")
    if isinstance(value, cuda.MemoryPointer):
        return value.ptr.to_bytes(8, "little")
    if isinstance(value, numpy.ndarray):
        if value.size != 1:
            raise TypeError(
                f"You are trying to pass a numpy.ndarray of shape {value.shape} as a kernel parameter. "
                "Only numpy.ndarrays of size one can be passed by value."
            )
        return value.tobytes()
    if type(value) in (bool, int, float, complex):
        value = numpy.array(value)[()]
    if not isinstance(value, numpy.generic):
        raise TypeError(f"Unsupported type {type(value)}")
    _check_dtype(value.dtype)
    return value.tobytes()
