"""Variants of the CUDA kernels compile for every architecture, to the instructions that they are written for.

A run takes a sixth of them, and `--every` all.  NVRTC needs no GPU.  It gets the options that CuPy passes, and for
every second variant none of them, because they hide a function without `__device__`.
"""

import re
from functools import cache
from itertools import product

import pytest
from keeping import keep
from needs import require

# The options that CuPy 14 adds.
CUPY = ("--device-as-default-execution-space", "-ftz=true")
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
WORDS = tuple(f"word{size}" for size in (1, 2, 4, 8, 16))
FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
REALS = ("bool", *FLOATS, *INTEGERS)
KINDS = (*REALS, "complex64", "complex128")
# Bytes of an index, 64-bit counting, side of squares: every pair of choices, since no kernel depends on all three.
HOWS = ((4, False, 0), (8, True, 0), (8, False, 2), (4, True, 2), (4, False, 3), (8, True, 3))
# The same for taps.
HOWS_OF_TAPS = (
    *((1, wide, side) for wide in (False, True) for side in (0, 2, 3)),
    *((2, True, 0), (2, False, 2), (4, False, 3), (8, True, 2), (8, False, 0)),
)
# Operation, kind, duplicates, and True if own windows are checked.
WHATS = [
    *product(["pool"], REALS, ["last"]),
    *product(["scatter"], WORDS, ["last", "error"]),
    *product(["scatter"], KINDS, ["sum"]),
    *product(["gather"], WORDS, ["last", "sum", "error"]),
    *product(["scatter", "gather"], ["word2", "word4"], ["last", "error"], [True]),
    ("scatter", "float32", "sum", True),
    ("gather", "word4", "sum", True),
]
# The last entry is for taps, which always lie in their own windows.
WHATS_OF_TAPS = [(*what, False, True) for what in WHATS if len(what) == 3]
# Each entry of both for each architecture, with another way for each.  Each entry, each way and each architecture has
# variants with the options of CuPy, and without.
VARIANTS = [
    (architecture, ((), CUPY)[(place + turn // 3) % 2], (operation, kind, *hows[(place + turn) % len(hows)], *rest))
    for whats, hows in ((WHATS, HOWS), (WHATS_OF_TAPS, HOWS_OF_TAPS))
    for turn, architecture in enumerate(ARCHITECTURES)
    for place, (operation, kind, *rest) in enumerate(whats)
]
seldom = pytest.mark.one_in(len(ARCHITECTURES))  # the compiler takes half a second, and there are 700 variants


@pytest.fixture(scope="module", autouse=True)
def real_cupy(request):
    require("cupy", "its compiler is what compiles the kernels")
    if request.config.getoption("--cuda-on-cpu"):
        pytest.skip("the stand-in for CuPy has no compiler of CUDA's")


@cache
def compiled(variant, architecture, options=CUPY, ptx=False):
    """Return the code for a variant; the compiler must report nothing."""
    from cupy_backends.cuda.libs import nvrtc
    from unpool_backends.cuda import kernels

    source = kernels.source()
    given = (*kernels.options(*variant), *options, f"-arch={architecture}")

    def write(path):
        program = nvrtc.createProgram(source, "kernels.cu", [], [])
        try:
            nvrtc.compileProgram(program, given)
            code = (nvrtc.getPTX if ptx else nvrtc.getCUBIN)(program)
        finally:
            said = nvrtc.getProgramLog(program).strip("\0\n ")
            nvrtc.destroyProgram(program)
            assert not said, said
        path.write_bytes(code.encode() if isinstance(code, str) else code)

    parts = (source, *given, str(ptx), str(nvrtc.getVersion()))
    return keep("nvrtc", parts, ".ptx" if ptx else ".cubin", write).read_bytes()


def functions(variant, **named):
    """Return the PTX of each kernel of a variant, by name."""
    text = compiled(variant, "compute_90", ptx=True, **named).decode()
    parts = re.split(r"\.visible \.entry (\w+)\(", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def indexed(operation, kind, side):
    """Return a variant for positions of 8 bytes, and one for taps of one byte."""
    start = operation, kind
    return (*start, 8, False, side, "last"), (*start, 1, False, side, "last", False, True)


def name_of(part):
    """Return the name of a variant, an architecture or options in the name of a case."""
    if isinstance(part, str):
        return part
    if part in ((), CUPY):
        return "cupy" if part else "plain"
    operation, kind, index_size, wide, side, duplicates, *confined = part
    how = f"{8 * index_size}{'-wide' * wide}{f'-{side}' if side else ''}"
    return f"{operation}-{kind}-{how}-{duplicates}{('', '-windows', '-taps')[len(confined)]}"


@seldom
@pytest.mark.parametrize(("architecture", "options", "variant"), VARIANTS, ids=name_of)
def test_every_variant_compiles(architecture, options, variant):
    assert len(compiled(variant, architecture, options)) > 1000


@seldom
@pytest.mark.parametrize("architecture", ["compute_75", "compute_80", "compute_90", "compute_100", "compute_120"])
@pytest.mark.parametrize("kind", WORDS)
def test_the_window_path_stores_16_bytes_at_a_time(kind, architecture):
    """Some compilers split a store of 16 bytes."""
    for variant in indexed("scatter", kind, 2):
        text = compiled(variant, architecture, ptx=True).decode()
        body = text.split(".entry unpool_scatter_blocks(")[1].split(".entry")[0]
        assert re.search(r"st\.global(\.\w+)?\.v[24]\.[bu](32|64)", body)
        assert re.search(r"st\.shared(\.\w+)?\.v[24]\.[bu](32|64)", body)
        vectors = re.findall(r"(?:st|ld)\.(?:global|shared)\S*\.v(\d)\.[bu](\d+)", body)
        assert {int(count) * int(size) for count, size in vectors} == {128}


@seldom
@pytest.mark.parametrize("architecture", ["compute_75", "compute_80", "compute_90", "compute_100", "compute_120"])
@pytest.mark.parametrize("kind", WORDS)
def test_the_cells_of_a_tile_are_stored_16_bytes_at_a_time(kind, architecture):
    for variant in indexed("scatter", kind, 0):
        text = compiled(variant, architecture, ptx=True).decode()
        body = text.split(".entry unpool_scatter_cells(")[1].split(".entry")[0]
        assert re.search(r"st(\.\w+)*\.v[24]\.[bu](32|64)", body)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "complex64"])
def test_sums_do_not_flush_denormals(kind):
    for text in functions(("scatter", kind, 8, False, 0, "sum")).values():
        adds = re.findall(r"add\.\S*f32", text)
        assert adds
        assert not any("ftz" in instruction for instruction in adds)


@pytest.mark.parametrize("side", [0, 2, 3])
@pytest.mark.parametrize("kind", FLOATS)
def test_pooling_compares_integers(kind, side):
    """Comparisons of floats would flush denormals."""
    (text,) = functions(("pool", kind, 8, False, side, "last")).values()
    assert not re.search(r"\b(setp|max|min|set|slct)\.\S*f(16|32|64)", text)


@pytest.mark.parametrize("kind", WORDS)
def test_the_fast_kernels_keep_all_in_registers(kind):
    for operation, side, kernel in (
        ("scatter", 2, "unpool_scatter_blocks"),
        ("scatter", 0, "unpool_scatter_blocks"),
        ("scatter", 0, "unpool_scatter_cells"),
        ("gather", 2, "unpool_gather_windows"),
        ("gather", 0, "unpool_gather_windows"),
        ("gather", 0, "unpool_gather_overlap"),
    ):
        for variant in indexed(operation, kind, side):
            assert ".local" not in functions(variant)[kernel]
    if kind in ("word1", "word2", "word4", "word8"):
        of_size = {"word1": "uint8", "word2": "float16", "word4": "float32", "word8": "float64"}[kind]
        for side in (0, 2, 3):
            for variant in indexed("pool", of_size, side):
                assert ".local" not in functions(variant)["unpool_pool"]


@pytest.mark.parametrize("kind", WORDS)
def test_squares_of_taps_are_read_without_divisions(kind):
    """A tap of a square needs no multiplication for a quotient, and its window has no strip to mark."""
    for operation, kernel in (("scatter", "unpool_scatter_blocks"), ("gather", "unpool_gather_windows")):
        positions, taps = (functions(variant)[kernel] for variant in indexed(operation, kind, 2))
        assert len(re.findall(r"\bmul\.hi", taps)) <= len(re.findall(r"\bmul\.hi", positions))
        assert not re.search(r"\bst\.global\S*\.u8", taps) or kind == "word1"


def test_what_is_launched_is_there_and_may_have_so_many_threads():
    from unpool_backends.cuda import job

    threads = {
        "unpool_pool": job.THREADS,
        "unpool_scatter_blocks": job.BLOCK_THREADS,
        "unpool_scatter_cells": job.TILE_THREADS,
        "unpool_scatter_ranges": job.MOST_THREADS,
        "unpool_gather_windows": job.THREADS,
        "unpool_gather_overlap": job.THREADS,
        "unpool_gather_ranges": job.MOST_THREADS,
    }
    found = {}
    for operation in ("pool", "scatter", "gather"):
        kind = "float32" if operation == "pool" else "word4"
        for name, text in functions((operation, kind, 8, False, 0, "last")).items():
            found[name] = int(re.search(r"\.maxntid (\d+)", text)[1])
    assert found == threads
