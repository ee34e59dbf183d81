"""Build the CPU kernels; all other settings of the package are in pyproject.toml.

A probe is compiled, linked and run to find OpenMP, since a compiler may accept the flag without having the library.
Without OpenMP the build continues, and the kernels run on one thread.  `python -m unpool info` reports the result.
To compile for another processor, set CC to its compiler, and CROSSCOMPILING_EMULATOR, as conda-forge does, to the
command that runs the probe: `tools/arm64.py` does.
"""

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PROBE = """
#ifndef _OPENMP
#error the flags do not turn OpenMP on
#endif
#include <omp.h>
#include <stdio.h>
int main(void) {
    int threads = 0;
    #pragma omp parallel num_threads(2) reduction(+:threads)
    threads += 1;
    printf("threads=%d", threads);
    return threads < 1;
}
"""
BOX = """
    +--------------------------------------------------------------------------+
    |  unpool: no working OpenMP was found; building without threads.          |
    |                                                                          |
    |  Everything works and gives the same results, on one core.  To use all   |
    |  of them: on Linux install gcc or clang with libomp; on macOS install    |
    |  libomp and set CFLAGS="-Xpreprocessor -fopenmp" LDFLAGS="-lomp"; then   |
    |  reinstall with: pip install --force-reinstall --no-cache-dir unpool     |
    +--------------------------------------------------------------------------+
"""


class BuildExt(build_ext):
    def build_extensions(self):
        msvc = self.compiler.compiler_type == "msvc"
        # The last candidate adds no flags: Apple's clang rejects -fopenmp, but CFLAGS may enable OpenMP in its own way.
        candidates = [(["/openmp"], []) if msvc else (["-fopenmp"], ["-fopenmp"]), ([], [])]
        openmp = next((flags for flags in candidates if self.runs(*flags)), None)
        if openmp is None:
            print(BOX, flush=True)
        for extension in self.extensions:
            extension.extra_compile_args += ["/O2"] if msvc else ["-O3", "-g0"]
            # If every probe failed, undefine _OPENMP, so that CFLAGS alone cannot select the OpenMP code.
            extension.extra_compile_args += openmp[0] if openmp else ["/U_OPENMP" if msvc else "-U_OPENMP"]
            extension.extra_link_args += openmp[1] if openmp else []
        super().build_extensions()

    def runs(self, compile_args, link_args):
        """Return True if the probe compiles, links and runs with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(PROBE)
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=compile_args)
                program = str(Path(folder, "probe"))
                # The compiler class adds LDFLAGS when it links extensions, but not when it links programs.
                flags = shlex.split(os.environ.get("LDFLAGS", ""))
                self.compiler.link_executable(objects, program, extra_postargs=link_args + flags)
                emulator = shlex.split(os.environ.get("CROSSCOMPILING_EMULATOR", ""))
                result = subprocess.run([*emulator, program], capture_output=True, text=True, timeout=60)
            except Exception as error:  # each compiler class has its own exceptions
                print(f"unpool: no OpenMP with {compile_args}: {error}", flush=True)
                return False
        return result.returncode == 0 and result.stdout.startswith("threads=")


HEADERS = (
    *("cpu/denormals", "cpu/pages", "cpu/pooling", "cpu/pooling_lanes", "cpu/pooling_values"),
    *("cpu/start", "cpu/stream", "cpu/taps", "cpu/taps_lanes", "cpu/xla", "include/numbers", "include/unpool"),
)
# One abi3 wheel serves CPython 3.11 and later; free-threaded builds have no stable ABI yet and get their own wheels.
abi3 = not sysconfig.get_config_var("Py_GIL_DISABLED")
kernels = Extension(
    "unpool_backends.cpu._kernels",
    ["backends/unpool_backends/cpu/_kernels.pyx"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if abi3 else [],
    include_dirs=["backends/unpool_backends/include"],
    depends=[f"backends/unpool_backends/{name}.h" for name in HEADERS],
    py_limited_api=abi3,
)
memory = Extension(
    "unpool_backends.cpu._memory",
    ["backends/unpool_backends/cpu/_memory.pyx"],
    define_macros=kernels.define_macros,
    include_dirs=[numpy.get_include()],
    depends=["backends/unpool_backends/cpu/memory.h"],
    py_limited_api=abi3,
)
setup(
    ext_modules=cythonize([kernels, memory], include_path=["backends"], build_dir="build"),
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {},
)
