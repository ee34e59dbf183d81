"""As tests/core/test_types.py, for tensors and layers of PyTorch."""

import runpy
from pathlib import Path

import checkers
import pytest
from needs import require

require("torch", "a program with its layers is checked")
PROGRAM = Path(checkers.__file__).with_name("torch_program.py")


@pytest.mark.parametrize("checker", checkers.COMMANDS)
def test_wrong_uses_are_flagged_and_right_ones_are_not(checker, tmp_path):
    require(checker, "it reads the types of a user's program")
    checkers.check(PROGRAM, checker, tmp_path)


def test_the_right_uses_run():
    runpy.run_path(str(PROGRAM), run_name="__main__")
