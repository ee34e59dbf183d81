"""The C interface of the CPU kernels, `unpool.h`, called through ctypes; the structs are declared once more."""

import ctypes
import math

import numpy as np
from unpool_backends.cpu import _kernels

OPERATIONS = {"scatter": 0, "gather": 1, "pool": 2}
DUPLICATES = {"last": 0, "sum": 1, "error": 2}
CHECKS = {False: 0, True: 1, "windows": 2}
KINDS = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
)
DONE, FOUND, NO_MEMORY, REFUSED = range(4)

Word = ctypes.c_int64
Triple = Word * 3
FIELDS = ("operation", "kernel", "stride", "padding", "dilation", "pooled", "plane")
TRIPLES = FIELDS[1:]
MORE = ("channels", "channels_last", "duplicates", "check", "fresh")


class Call(ctypes.Structure):
    _fields_ = [(name, Triple if name in TRIPLES else Word) for name in (*FIELDS, *MORE)]


class Arrays(ctypes.Structure):
    _fields_ = [
        *((name, Word) for name in ("batch", "kind", "index_bytes")),
        *((name, ctypes.c_void_p) for name in ("pooled", "indices", "plane")),
    ]


class Found(ctypes.Structure):
    _fields_ = [("bad", Word), ("repeated", Word)]


def address():
    """Return the address of the function, from its capsule."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return pointer(_kernels.unpool_run_1, b"unpool_backends.cpu._kernels.unpool_run_1")


def function():
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Call), ctypes.POINTER(Arrays), ctypes.POINTER(Found))
    return prototype(address())


def call_of(plan, operation, duplicates="last", fresh=0):
    """Return the call that a Plan stands for."""
    triples = [Triple(*getattr(plan, name)) for name in TRIPLES]
    modes = DUPLICATES[duplicates], CHECKS[plan.validate], fresh
    return Call(OPERATIONS[operation], *triples, plan.channels, plan.channels_last, *modes)


def arrays_of(plan, pooled, indices, plane):
    places = [None if array is None else array.ctypes.data for array in (pooled, indices, plane)]
    return Arrays(plan.batch, KINDS.index(plane.dtype.name), 8 if indices is None else indices.itemsize, *places)


def run(plan, operation, pooled, indices, plane, duplicates="last", fresh=0):
    """Call the function; return its status, and the positions of the first bad and the first repeated index."""
    found = Found(99, 99)
    call, arrays = call_of(plan, operation, duplicates, fresh), arrays_of(plan, pooled, indices, plane)
    return function()(call, arrays, found), found.bad, found.repeated


def flat(position, shape):
    """Return the flat position of a position, or -1 for None."""
    return -1 if position is None else int(np.ravel_multi_index(position, shape)) if math.prod(shape) else -1
