"""Functions and objects of unpool take PyTorch's arguments, in PyTorch's order."""

import inspect

import pytest
from needs import require

import unpool

torch = require("torch", "its signatures are compared with ours")
every_rank = pytest.mark.parametrize("rank", [1, 2, 3])


def positional(function):
    """Return the names of the parameters that can be passed by position."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]


@every_rank
@pytest.mark.parametrize("name", ["MaxPool{}d", "MaxUnpool{}d"])
def test_modules_have_the_order_of_torch(name, rank):
    ours, theirs = getattr(unpool, name.format(rank)), getattr(torch.nn, name.format(rank))
    assert positional(ours) == positional(theirs)
    assert positional(ours.__call__) == positional(theirs.forward)


@every_rank
def test_functions_have_the_order_of_torch(rank):
    functional = torch.nn.functional
    name = f"max_unpool{rank}d"
    assert positional(getattr(unpool, name)) == positional(getattr(functional, name))
    # PyTorch's max_pool dispatches on return_indices, and this is the variant with all arguments.
    theirs = positional(getattr(functional, f"max_pool{rank}d_with_indices"))
    assert positional(getattr(unpool, f"max_pool{rank}d")) == theirs
