"""The vectors are what the writer writes, hold every kind of problem, and are small.

unpool.testing.contract.test_vectors compares the library with them.
"""

import json
import struct
from importlib.resources import files

import numpy as np
import pytest
from processes import python
from tree import ROOT

from unpool.testing.cases import INTEGERS, POSITIONS, REALS, VALUES
from unpool.testing.vectors import OPERATIONS, read

FILES = {operation: files("unpool.testing.vectors").joinpath(f"{operation}.json") for operation in OPERATIONS}


def test_the_files_are_what_the_writer_writes(tmp_path):
    written = python(str(ROOT / "tools" / "write_vectors.py"), str(tmp_path))
    assert written.returncode == 0, written.stderr
    for operation, file in FILES.items():
        assert tmp_path.joinpath(f"{operation}.json").read_bytes() == file.read_bytes()


def test_the_files_are_small():
    assert sum(len(file.read_bytes()) for file in FILES.values()) < 300_000


@pytest.mark.parametrize("operation", OPERATIONS)
def test_names_are_unique_and_no_sum_is_nan(operation):
    vectors = read(operation)
    assert len({vector.name for vector in vectors}) == len(vectors) > 5
    for vector in vectors:
        assert (vector.outputs is None) == (vector.error is not None)
        if vector.outputs and (operation == "max_pool_backward" or vector.arguments.get("duplicates") == "sum"):
            output = vector.outputs["output"]
            assert operation == "max_unpool_backward" or not (output != output).any()


def has(operation, **wanted):
    """Return whether a vector of an operation has all these arguments."""
    return any(wanted.items() <= {**vector.arguments, "rank": vector.rank}.items() for vector in read(operation))


@pytest.mark.parametrize("operation", ["max_pool", "max_unpool", "max_unpool_backward", "max_pool_backward"])
def test_every_kind_of_window_is_there(operation):
    for rank in (1, 2, 3):
        for formats in (("channels_first", "plane"), ("channels_last", "window")):
            assert has(operation, rank=rank, data_format=formats[0], index_format=formats[1])
    assert has(operation, padding="same")
    assert has(operation, padding="same_lower")
    windows = [vector.arguments for vector in read(operation) if isinstance(vector.arguments.get("padding"), list)]
    assert any(before != after for window in windows for before, after in window["padding"])
    assert any(step > 1 for window in windows for step in window["dilation"])


def test_every_dtype_and_special_value_is_there():
    for operation, dtypes in (("max_pool", REALS), ("max_unpool", VALUES), ("max_pool_backward", REALS)):
        used = {array.dtype for vector in read(operation) for array in vector.inputs.values()}
        assert used >= set(dtypes)
    for index_format, dtypes in (("plane", POSITIONS), ("window", INTEGERS)):
        vectors = [vector for vector in read("max_unpool") if vector.arguments.get("index_format") == index_format]
        assert {vector.inputs["indices"].dtype for vector in vectors if vector.outputs} >= set(dtypes)
    values = np.concatenate([v.inputs["input"].ravel() for v in read("max_unpool") if v.inputs["input"].dtype == "f4"])
    assert np.isnan(values).any()
    assert np.isposinf(values).any()
    assert np.isneginf(values).any()
    assert (np.signbit(values) & (values == 0)).any()


def test_every_error_is_there():
    for operation in ("max_unpool", "max_unpool_backward"):
        errors = [(vector.error, vector.arguments["index_format"]) for vector in read(operation) if vector.error]
        kinds = {(error["kind"], index_format) for error, index_format in errors}
        assert len(kinds) == 4
    assert has("max_unpool", duplicates="error")
    assert has("max_unpool", kernel_size=None)


def test_the_bytes_are_those_that_the_readme_describes():
    """Python's `struct` reads the arrays as unpool.testing.vectors does."""
    codes = {"float32": "f", "float64": "d", "int32": "i", "int64": "q", "uint8": "B", "uint16": "H", "bool": "?"}
    seen = set()
    for operation, file in FILES.items():
        for case, vector in zip(json.loads(file.read_text("utf-8")), read(operation), strict=True):
            for name, entry in case["inputs"].items():
                if code := codes.get(entry["dtype"]):
                    seen.add(entry["dtype"])
                    found = vector.inputs[name]
                    numbers = struct.unpack(f"<{found.size}{code}", bytes.fromhex(entry["data"]))
                    np.testing.assert_array_equal(np.reshape(numbers, entry["shape"]), found)
    assert seen == set(codes)
