"""Build the CPU kernels; all other settings of the package are in pyproject.toml.

A probe is compiled, linked and run to find OpenMP, since a compiler may accept the flag without having the library.
Without OpenMP the build continues, and the kernels run on one thread.  `python -m unpool info` reports the result.
To compile for another processor, set CC to its compiler, and CROSSCOMPILING_EMULATOR, as conda-forge does, to the
command that runs the probe: `tools/arm64.py` does.  Without an emulator, a probe that links is enough.

Without a compiler, or without Python's header, the build ends with one sentence that names what to install.
"""

import contextlib
import errno
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext

# The commands that compile.  An sdist and metadata need no compiler.
COMPILE = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"}
# What the system says of a program for another processor: ENOEXEC, and EBADARCH, which macOS alone has.
OTHER_PROCESSOR = {errno.ENOEXEC, 86}

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


class Compiler(build_ext):
    """The command `build_ext`, which can build a program, too."""

    def link(self, folder, source, compile_args=(), link_args=()):
        """Return the path of the program.  Each compiler class raises exceptions of its own."""
        file = Path(folder, "program.c")
        file.write_text(source)
        objects = self.compiler.compile([str(file)], output_dir=folder, extra_postargs=list(compile_args))
        program = str(Path(folder, "program"))
        # The compiler class adds LDFLAGS when it links extensions, but not when it links programs.
        flags = shlex.split(os.environ.get("LDFLAGS", ""))
        self.compiler.link_executable(objects, program, extra_postargs=[*link_args, *flags])
        return program


class CheckCompiler(Compiler):
    """Exit if the compiler builds no program, or none that includes Python's header.  Print nothing else."""

    def build_extensions(self):
        for header, problem in (("stdio.h", _no_compiler), ("Python.h", _no_header)):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    with silence():
                        self.link(folder, f"#include <{header}>\nint main(void) {{ return 0; }}\n")
                except Exception:
                    sys.exit(problem())


class BuildExt(Compiler):
    def build_extensions(self):
        msvc = self.compiler.compiler_type == "msvc"
        # The last candidate adds no flags: Apple's clang rejects -fopenmp, but CFLAGS may enable OpenMP in its own way.
        candidates = [(["/openmp"], []) if msvc else (["-fopenmp"], ["-fopenmp"]), ([], [])]
        openmp = next((flags for flags in candidates if self.has_openmp(*flags)), None)
        if openmp is None:
            print(BOX, flush=True)
        for extension in self.extensions:
            extension.extra_compile_args += ["/O2"] if msvc else ["-O3", "-g0"]
            # If every probe failed, undefine _OPENMP, so that CFLAGS alone cannot select the OpenMP code.
            extension.extra_compile_args += openmp[0] if openmp else ["/U_OPENMP" if msvc else "-U_OPENMP"]
            extension.extra_link_args += openmp[1] if openmp else []
        super().build_extensions()

    def has_openmp(self, compile_args, link_args):
        """Return True if the probe compiles, links and runs with these flags."""
        emulator = shlex.split(os.environ.get("CROSSCOMPILING_EMULATOR", ""))
        with tempfile.TemporaryDirectory() as folder:
            try:
                program = self.link(folder, PROBE, compile_args, link_args)
                result = subprocess.run([*emulator, program], capture_output=True, text=True, timeout=60)
            except Exception as error:
                if isinstance(error, OSError) and error.errno in OTHER_PROCESSOR:
                    return True
                print(f"unpool: no OpenMP with {compile_args}: {error}", flush=True)
                return False
        return result.returncode == 0 and result.stdout.startswith("threads=")


@contextlib.contextmanager
def silence():
    """Discard what this process and its children print."""
    streams = 1, 2
    kept = [os.dup(stream) for stream in streams]
    try:
        with open(os.devnull, "w") as nothing:
            for stream in streams:
                os.dup2(nothing.fileno(), stream)
        yield
    finally:
        for stream, copy in zip(streams, kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)


# --- messages ---


def _no_compiler():
    given = " ".join(f"{name}={os.environ[name]!r}" for name in ("CC", "CFLAGS", "LDFLAGS") if name in os.environ)
    install = {
        "darwin": "run `xcode-select --install`",
        "win32": 'install "Build Tools for Visual Studio" with "Desktop development with C++"',
    }
    linux = "install build-essential on Debian or Ubuntu, gcc on Fedora, or gcc and musl-dev on Alpine"
    return (
        f"unpool needs a C compiler{f', and with {given} none builds a program' if given else ''}: "
        f"{install.get(sys.platform, linux)}, then run the command again."
    )


def _no_header():
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"unpool needs the header Python.h of Python {version}: install python{version}-dev on Debian or Ubuntu, "
        "python3-devel on Fedora, or python3-dev on Alpine, then run the command again."
    )


compiles = COMPILE.intersection(sys.argv)
if compiles:
    check = CheckCompiler(Distribution({"ext_modules": [Extension("unpool", [])]}))
    check.ensure_finalized()
    check.run()

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
extensions = [kernels, memory]
if compiles:
    # Cython takes ten seconds, and build frontends run this file several times.
    extensions = cythonize(extensions, include_path=["backends"], build_dir="build")
setup(
    ext_modules=extensions,
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {},
)
