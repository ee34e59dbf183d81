"""mypy and pyright, as strict as they can be, flag the wrong uses of a user's program, and nothing else."""

import ast
import inspect
import re
import runpy
from importlib.resources import files
from pathlib import Path

import checkers
import pytest
from needs import require

from unpool import annotations
from unpool.functional import pooling

PROGRAM = Path(checkers.__file__).with_name("user_program.py")


@pytest.mark.parametrize("checker", checkers.COMMANDS)
def test_wrong_uses_are_flagged_and_right_ones_are_not(checker, tmp_path):
    require(checker, "it reads the types of a user's program")
    checkers.check(PROGRAM, checker, tmp_path)


def test_the_right_uses_run():
    runpy.run_path(str(PROGRAM), run_name="__main__")


@pytest.mark.parametrize("package", ["unpool", "unpool_backends"])
def test_checkers_read_the_types_of_a_package(package):
    assert files(package).joinpath("py.typed").is_file()


def parameters(source):
    """Return the parameters of each function of a module or class, as the source has them, but for `return_indices`."""
    functions = [node for node in ast.walk(ast.parse(inspect.getsource(source))) if isinstance(node, ast.FunctionDef)]
    texts = [ast.unparse(function.args).removeprefix("self, ") for function in functions]
    return [re.sub("(?<=return_indices: )[^,]+", "...", text) for text in texts]


def test_the_overloads_of_pooling_have_all_parameters():
    """Checkers would flag the use of one that is missing."""
    overloads, functions = parameters(annotations.Pooling), parameters(pooling)
    assert (len(overloads), len(functions)) == (3, 3)
    assert len({*overloads, *functions}) == 1
