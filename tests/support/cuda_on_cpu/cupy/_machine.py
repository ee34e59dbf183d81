"""Compile C++ with g++, cache the libraries for all processes, and call them."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from keeping import keep

_HERE = Path(__file__).resolve().parent.parent
_HEADER = _HERE / "cuda_on_cpu.h"
_MACHINE = _HERE / "machine.cpp"

_SHARED = ["-shared", "-fPIC", "-U_FORTIFY_SOURCE"]  # a fortified longjmp refuses to change stacks
_MACHINE_OPTIONS = [*_SHARED, "-std=c++17", "-O2"]
_MODULE_OPTIONS = [
    *_SHARED,
    *("-O0", "-w", "-fno-exceptions"),  # an optimizer takes longer than it saves
    # machine.cpp defines the functions that the sanitizers call, so their libraries are not linked.
    "-nostdlib",
    "-fsanitize=thread,alignment,null,bounds,bool,shift-exponent,signed-integer-overflow,integer-divide-by-zero",
    "--param=tsan-instrument-func-entry-exit=0",
    # Uninitialized variables hold a pattern. An optimizer would assume convenient values instead.
    "-ftrivial-auto-var-init=pattern",
    # Names are local to a module, since other modules define the same names.
    *("-fvisibility=hidden", "-fno-gnu-unique"),
    *("-include", str(_HEADER)),
]

_DYNAMIC_SHARED = re.compile(r"\bextern\s+__shared__\s+([^;\[\]]*?)\b(\w+)\s*\[\s*\]\s*;")
_BOUNDS = r"(?:__launch_bounds__\s*\((?P<{}>(?:[^()]|\([^()]*\))*)\)\s*)?"
_KERNEL = re.compile(
    rf'extern\s+"C"\s+__global__\s+{_BOUNDS.format("before")}void\s+{_BOUNDS.format("after")}(?P<name>\w+)\s*\('
)


class CompileError(Exception):
    """The errors of g++ for a source."""


@cache
def _compiler():
    path = shutil.which(os.environ.get("CXX", "g++"))
    if path is None:
        raise RuntimeError("the stand-in for CuPy compiles kernels by g++, which is not installed")
    return path


def _compile(source, *options):
    finished = subprocess.run(
        [_compiler(), *options, "-x", "c++", "-"], cwd=_HERE, input=source, capture_output=True, text=True
    )
    if finished.returncode:
        raise CompileError(finished.stderr)
    return finished.stdout


def _library(source, complete, options, **loading):
    """Load the library of a source. Complete and build the source if the library is not kept.

    It is kept under what the preprocessor leaves, so a change in one kernel builds no other kernel anew.
    """
    compiler = (_compiler(), str(os.stat(_compiler()).st_mtime_ns))
    parts = (_compile(source, *options, "-E"), *options, *compiler, Path(__file__).read_text())
    path = keep("cuda_on_cpu", parts, ".so", lambda path: _compile(complete(source), *options, "-o", str(path)))
    # PyDLL keeps the GIL: the machine is global and runs one launch at a time.
    return ctypes.PyDLL(str(path), **loading)


@cache
def machine():
    # RTLD_GLOBAL: modules use its symbols without linking to it.
    library = _library(_MACHINE.read_text(), str, _MACHINE_OPTIONS, mode=ctypes.RTLD_GLOBAL)
    library.cuda_on_cpu_allocate.argtypes = ctypes.c_size_t, ctypes.c_int
    library.cuda_on_cpu_allocate.restype = ctypes.c_size_t
    library.cuda_on_cpu_release.argtypes = (ctypes.c_size_t,)
    library.cuda_on_cpu_release.restype = None
    library.cuda_on_cpu_launch.argtypes = (
        *(ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_uint)),
        *(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
        *(ctypes.c_uint, ctypes.c_uint64),
    )
    library.cuda_on_cpu_launch.restype = ctypes.c_char_p
    return library


class Module:
    """A compiled source: its kernels, and the begin and end of its static shared memory."""

    def __init__(self, code, options):
        machine()
        kept = ["-nostdinc", "-std=c++17"]  # no headers, like NVRTC
        kept += [option.replace("--std", "-std") for option in options if re.match("-D|-U|--?std=", option)]

        def complete(source):
            # Search the preprocessor's output: it lacks excluded kernels, and keeps `__global__` and the like.
            found = _KERNEL.finditer(_compile(source, *kept, "-E", "-P"))
            kernels = {kernel["name"]: kernel["before"] or kernel["after"] or "1024" for kernel in found}
            exports = [f"CUDA_ON_CPU_KERNEL({name}, {bounds})" for name, bounds in kernels.items()]
            return "\n".join(['#line 1 "kernel.cu"', source, "CUDA_ON_CPU_MODULE", *exports, ""])

        source = _DYNAMIC_SHARED.sub(r"CUDA_ON_CPU_DYNAMIC_SHARED(\1, \2);", code)
        self._library = _library(source, complete, [*_MODULE_OPTIONS, *kept])
        self.shared = tuple(self._function(f"shared_{end}", ctypes.c_void_p)() for end in ("begin", "end"))

    def _function(self, name, result):
        function = getattr(self._library, f"cuda_on_cpu_{name}")
        function.restype = result
        return function

    def kernel(self, name):
        """Return the address of a kernel, the sizes of its parameters and its largest block, or None if missing."""
        try:
            run = self._function(f"run_{name}", None)
        except AttributeError:
            return None
        sizes = (ctypes.c_int * 256)()
        count = self._function(f"sizes_{name}", ctypes.c_int)(sizes)
        return ctypes.cast(run, ctypes.c_void_p), sizes[:count], self._function(f"bound_{name}", ctypes.c_int)()
