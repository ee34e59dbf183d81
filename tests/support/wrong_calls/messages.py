"""The functions that build an exception or a warning, by their names."""

import ast
import inspect
from pathlib import Path

import unpool_backends

import unpool
from unpool import arguments, backends, calls, conventions, dtypes, errors, loading, plan, registry, sizes

BUILT = ("Error", "Warning")
CORE = (arguments, backends, calls, conventions, dtypes, errors, loading, plan, registry, sizes)


def messages():
    """Return the functions of the core that build an exception or a warning: name, without underscore, to module."""
    return {
        name.lstrip("_"): module
        for module in CORE
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and str(function.__annotations__.get("return")).endswith(BUILT)
    }


def other_messages():
    """Yield the names of the functions that build an exception or a warning, in all files outside of the core."""
    core = {Path(module.__file__) for module in CORE}
    for package in (unpool, unpool_backends):
        for path in set(Path(package.__file__).parent.rglob("*.py")) - core:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                returns = getattr(node, "returns", None)
                if returns and ast.unparse(returns).endswith(BUILT) and node.name != "_meaning":
                    yield node.name.lstrip("_")
