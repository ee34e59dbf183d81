"""Docstrings that editors show name every argument, and `help(unpool)` everything that is public."""

import ast
import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

import unpool

PUBLIC = {name: getattr(unpool, name) for name in unpool.__all__}
OBJECTS = {name: value for name, value in PUBLIC.items() if name.startswith("Max")}
# A function of one argument says all in its first sentence.
FUNCTIONS = {
    name: value
    for name, value in PUBLIC.items()
    if inspect.isfunction(value) and len(inspect.signature(value).parameters) > 1
}
# unpool.torch is read and not imported, since it needs PyTorch.
LAYERS = ast.parse(Path(find_spec("unpool.torch").origin).with_name("layers.py").read_text(encoding="utf-8"))
WRITTEN = ("__init__", "__call__", "forward")
METHODS = {
    f"{layer.name}.{method.name}": method
    for layer in LAYERS.body
    if isinstance(layer, ast.ClassDef)
    for method in ast.walk(layer)
    if isinstance(method, ast.FunctionDef) and method.name in WRITTEN and not method.decorator_list
}


def written(value):
    """Return the docstring of a function or class as its source has it, since editors do not run the source."""
    return ast.get_docstring(ast.parse(dedent(inspect.getsource(value))).body[0])


def documented(docstring):
    """Return the names in the section of parameters."""
    section = docstring.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    return [name for line in re.findall(r"^\w.*", section, re.MULTILINE) for name in line.split(", ")]


def parameters(function):
    return sorted(name for name in inspect.signature(function).parameters if name != "self")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    assert sorted(documented(written(FUNCTIONS[name]))) == parameters(FUNCTIONS[name])


@pytest.mark.parametrize("name", OBJECTS)
def test_objects(name):
    """The docstring of the class serves, because dataclass writes `__init__`."""
    made, called = OBJECTS[name], OBJECTS[name].__call__
    assert sorted(documented(written(made))) == parameters(made)
    assert sorted(documented(written(called))) == parameters(called)


@pytest.mark.parametrize("name", METHODS)
def test_layers_of_torch(name):
    arguments = METHODS[name].args
    names = sorted(argument.arg for argument in (*arguments.args[1:], *arguments.kwonlyargs))
    assert sorted(documented(ast.get_docstring(METHODS[name]))) == names


def test_the_calls_are_found():
    assert len(FUNCTIONS) >= 14
    assert len(OBJECTS) == 6
    assert len(METHODS) == 6


def test_help_opens_with_an_overview():
    """Names of two dimensions stand for the others."""
    missing = [name for name in PUBLIC if re.sub("[13]d", "2d", name) not in unpool.__doc__]
    assert missing == ["__version__"]
    assert max(map(len, unpool.__doc__.splitlines())) <= 120
