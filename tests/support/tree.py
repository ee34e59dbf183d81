"""The source tree: its root, and the programs in benchmarks/ and tools/ as modules."""

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
EXAMPLES = ROOT / "examples"


def load(name):
    """Import a program of benchmarks/ with its neighbours.

    None of them stays in `sys.modules`, because a module of tests/support may have the same name.
    """
    names = {path.stem for path in BENCHMARKS.glob("*.py")}
    kept = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in names & sys.modules.keys():
            del sys.modules[name]
        sys.modules.update(kept)


def load_tool(name):
    """Import a program of tools/, such as "reliability" or "site/draw"."""
    path = ROOT / "tools" / f"{name}.py"
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
