"""One signature for every array type, the same for every rank, and PyTorch's names in PyTorch's order."""

import doctest
import inspect
from types import SimpleNamespace

import pytest

import unpool
from unpool import registry
from unpool.protocol import Backend

# The promised signatures. They are the same for every rank.
FUNCTIONS = {
    "max_pool{}d": (
        "(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, *, "
        "data_format=None, index_format='plane', index_dtype=None, out=None, backend=None)"
    ),
    "max_unpool{}d": (
        "(input, indices, kernel_size, stride=None, padding=0, output_size=None, *, dilation=1, "
        "data_format=None, index_format='plane', duplicates='last', out=None, validate=True, backend=None)"
    ),
    "max_pool{}d_backward": (
        "(grad_output, indices, input_size, kernel_size, stride=None, padding=0, *, dilation=1, "
        "data_format=None, index_format='plane', out=None, validate=True, backend=None)"
    ),
    "max_unpool{}d_backward": (
        "(grad_output, indices, kernel_size, stride=None, padding=0, *, dilation=1, "
        "data_format=None, index_format='plane', duplicates='last', out=None, validate=True, backend=None)"
    ),
}
MODULES = {
    "MaxPool{}d": (
        (
            "(kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False, *, "
            "data_format=None, index_format='plane', index_dtype=None, backend=None)"
        ),
        "(input, *, out=None)",
    ),
    "MaxUnpool{}d": (
        (
            "(kernel_size, stride=None, padding=0, *, dilation=1, data_format=None, index_format='plane', "
            "duplicates='last', validate=True, backend=None)"
        ),
        "(input, indices=None, output_size=None, *, out=None)",
    ),
}
CONVERT_INDICES = (
    "(indices, source, target, *, output_size, data_format=None, kernel_size=None, stride=None, padding=0, dilation=1)"
)
TAKE_ALONG_PLANE = "(input, indices, *, data_format=None, validate=True, out=None, backend=None)"
MEMORY = {"keep_memory": "(keep)", "release_memory": "()"}
RANKS = (1, 2, 3)
CALLABLES = {
    name: value
    for name, value in vars(unpool).items()
    if name in unpool.__all__ and (inspect.isfunction(value) or name.startswith("Max"))
}


def signature(function):
    """Return the signature as text, without annotations and `self`."""
    found = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in found.parameters.items()
        if name != "self"
    ]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


# --- the public API -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("name", "expected"), FUNCTIONS.items(), ids=FUNCTIONS)
def test_functions(name, expected, rank):
    assert signature(getattr(unpool, name.format(rank))) == expected


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("name", "expected"), MODULES.items(), ids=MODULES)
def test_modules(name, expected, rank):
    module = getattr(unpool, name.format(rank))
    assert (signature(module), signature(module.__call__)) == expected


def test_other_functions():
    assert signature(unpool.convert_indices) == CONVERT_INDICES
    assert signature(unpool.take_along_plane) == TAKE_ALONG_PLANE
    assert signature(unpool.available) == "()"
    assert {name: signature(getattr(unpool, name)) for name in MEMORY} == MEMORY


def test_the_lists_above_are_complete():
    listed = {name.format(rank) for name in (*FUNCTIONS, *MODULES) for rank in RANKS}
    assert set(CALLABLES) == listed | {"available", "convert_indices", "take_along_plane", *MEMORY}


@pytest.mark.parametrize("name", CALLABLES)
def test_every_argument_and_result_has_a_type(name):
    for function in (CALLABLES[name], CALLABLES[name].__call__) if name.startswith("Max") else (CALLABLES[name],):
        found = inspect.signature(function)
        for parameter in found.parameters.values():
            assert parameter.name == "self" or parameter.annotation is not inspect.Parameter.empty, parameter
        assert found.return_annotation is not inspect.Signature.empty


def test_all_is_complete_and_sorted():
    public = {name for name, value in vars(unpool).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert unpool.__all__ == sorted(public | {"__version__"})


@pytest.mark.parametrize("name", [name for name in unpool.__all__ if name != "__version__"])
def test_everything_public_says_what_it_is(name):
    text = inspect.getdoc(getattr(unpool, name))
    assert text
    assert text.splitlines()[0].endswith((".", ":"))
    # A dataclass without a docstring gets its signature for one.
    assert not text.startswith(f"{name}(")


@pytest.mark.parametrize("name", CALLABLES)
def test_every_callable_has_an_example(name):
    """test_documentation.py runs the examples."""
    examples = doctest.DocTestParser().get_examples(CALLABLES[name].__doc__)
    assert any(f"{name}(" in example.source for example in examples)
    assert any(example.want for example in examples)


# --- backends -------------------------------------------------------------------------------------------------------

PRIMITIVES = ("gather", "pool", "scatter")
OPTIONAL = {"arithmetic", "constants", "fault", "index_formats"}


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found if p.name != "self"]


def test_the_protocol_is_three_primitives():
    assert tuple(sorted(name for name in vars(Backend) if not name.startswith("_"))) == PRIMITIVES
    for name in PRIMITIVES:
        assert getattr(Backend, name).__doc__


def test_an_object_that_lacks_a_primitive_is_no_backend():
    assert not isinstance(SimpleNamespace(pool=print, scatter=print), Backend)


def test_every_backend_follows_the_protocol():
    """Installed plugins are tested too."""
    names = [name for name, reason in unpool.available().items() if reason is None]
    assert "cpu" in names
    for name in names:
        backend = registry.LOADED[name]
        assert isinstance(backend, Backend)
        parts = {method for method in dir(backend) if not method.startswith("_")}
        assert parts - OPTIONAL == set(PRIMITIVES), name
        for method in PRIMITIVES:
            expected = parameters(getattr(Backend, method))
            found = parameters(getattr(backend, method))
            assert [entry for entry in found if entry[0] != "given"] == expected, (name, method)
