"""Builds C++ by g++, once for all processes, and calls it."""

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

_SHARED = ["-shared", "-fPIC", "-U_FORTIFY_SOURCE"]  # fortified, longjmp suspects a change of stacks
_MACHINE_OPTIONS = [*_SHARED, "-std=c++17", "-O2"]
_MODULE_OPTIONS = [
    *_SHARED,
    *("-O1", "-w", "-fno-exceptions", "-fno-strict-aliasing"),
    # What is called before each access, and where something is undefined, is in the machine: no library is needed.
    "-nostdlib",
    "-fsanitize=thread,alignment,null,bounds,bool,shift-exponent,signed-integer-overflow,integer-divide-by-zero",
    "--param=tsan-instrument-func-entry-exit=0",
    # What a kernel has not set is odd, if full redundancy elimination does not take it for what is convenient.
    *("-ftrivial-auto-var-init=pattern", "-fno-tree-fre"),
    # A module's names are its own: others have the same.
    *("-fvisibility=hidden", "-fno-gnu-unique"),
    *("-include", str(_HEADER)),
]

_DYNAMIC_SHARED = re.compile(r"\bextern\s+__shared__\s+([^;\[\]]*?)\b(\w+)\s*\[\s*\]\s*;")
_BOUNDS = r"(?:__launch_bounds__\s*\((?P<{}>(?:[^()]|\([^()]*\))*)\)\s*)?"
_KERNEL = re.compile(
    rf'extern\s+"C"\s+__global__\s+{_BOUNDS.format("before")}void\s+{_BOUNDS.format("after")}(?P<name>\w+)\s*\('
)


class CompileError(Exception):
    """What g++ says of a source."""


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
    """Load the library of a source, which is completed and built if it is not kept."""
    compiler = (_compiler(), str(os.stat(_compiler()).st_mtime_ns))
    parts = (source, *options, *compiler, _HEADER.read_text(), Path(__file__).read_text())
    path = keep("cuda_on_cpu", parts, ".so", lambda path: _compile(complete(source), *options, "-o", str(path)))
    # Its functions keep the interpreter's lock: there is one machine, and it runs one launch at a time.
    return ctypes.PyDLL(str(path), **loading)


@cache
def machine():
    # For all modules, which do not name it.
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
    """A compiled source: its kernels, and where its static shared memory begins and ends."""

    def __init__(self, code, options):
        machine()
        kept = ["-nostdinc", "-std=c++17"]  # as for NVRTC, there are no headers
        kept += [option.replace("--std", "-std") for option in options if re.match("-D|-U|--?std=", option)]

        def complete(source):
            # The preprocessor decides which kernels there are; it does not know our macros, which are found after it.
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
        """Return a kernel's address, the sizes of its parameters and its most threads; or None, if it is not there."""
        try:
            run = self._function(f"run_{name}", None)
        except AttributeError:
            return None
        sizes = (ctypes.c_int * 256)()
        count = self._function(f"sizes_{name}", ctypes.c_int)(sizes)
        return ctypes.cast(run, ctypes.c_void_p), sizes[:count], self._function(f"bound_{name}", ctypes.c_int)()
