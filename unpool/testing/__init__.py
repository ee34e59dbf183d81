"""The contract of unpool as tests, for every backend: ours, and those of other packages.

A package that adds a backend defines a subclass of `Arrays` for its arrays, and runs the suite on them:

    python -m pytest -p unpool.testing.plugin --pyargs unpool.testing.contract --arrays my_package.testing:MyArrays

The parts serve tests of other programs, too:

    Arrays, NumPyArrays         how the suite makes arrays of a library and reads them back
    unpool.testing.plugin       the plugin for pytest; nothing loads it until a command names it
    unpool.testing.contract     the tests
    unpool.testing.oracle       the contract in plain NumPy, window by window, without code of the library
    unpool.testing.cases        poolings, dtypes, difficult values and memory layouts
    unpool.testing.strategies   the same for hypothesis, and indices: valid, foreign, repeated or hostile
    unpool.testing.compare      comparisons of bits, and of the memory around a result
    unpool.testing.vectors      problems and answers as JSON files, which other languages can read

`docs/backends.md` describes how to write a backend, test it and publish it.  The suite needs the extra ``test``.
"""

from importlib.util import find_spec as _find_spec

from unpool.extras import install_command as _install_command


def _missing_packages(names: list[str]) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"unpool.testing needs {', '.join(names)}, which is not installed: {_install_command('test')}", name=names[0]
    )


_missing = [_name for _name in ("pytest", "hypothesis", "ml_dtypes") if _find_spec(_name) is None]
if _missing:
    raise _missing_packages(_missing)

from unpool.testing.arrays import Arrays, NumPyArrays  # noqa: E402 - after the check of what it imports

__all__ = ["Arrays", "NumPyArrays"]
