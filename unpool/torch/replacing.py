"""Replace the pooling and unpooling layers of a model by those of unpool, in place."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch

from unpool.errors import kind_of
from unpool.torch import indexed, layers

_OURS: dict[type, Any] = {
    getattr(torch.nn, ours.__name__): ours
    for ours in (
        layers.MaxPool1d,
        layers.MaxPool2d,
        layers.MaxPool3d,
        layers.MaxUnpool1d,
        layers.MaxUnpool2d,
        layers.MaxUnpool3d,
        indexed.AdaptiveMaxPool1d,
        indexed.AdaptiveMaxPool2d,
        indexed.AdaptiveMaxPool3d,
        indexed.FractionalMaxPool2d,
        indexed.FractionalMaxPool3d,
    )
}


def replace_layers(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Turn each pooling and unpooling layer of a model into that of `unpool.torch`, and return those layers by name.

    A layer stays the same object and changes its class, as lazy modules of PyTorch do.  So its names, hooks, state, own
    attributes and `training` stay, wherever it is used.  ``model`` may be such a layer itself.  Layers of subclasses,
    and layers with a ``forward`` of their own, stay as they are, and a warning lists them.  Calls of functions such as
    ``torch.nn.functional.max_pool2d`` are not layers, and are not replaced.

    Parameters
    ----------
    model
        Any module.  Layers of these classes of `torch.nn` are replaced: ``MaxPool1d`` to ``MaxPool3d``, ``MaxUnpool1d``
        to ``MaxUnpool3d``, ``AdaptiveMaxPool1d`` to ``AdaptiveMaxPool3d``, ``FractionalMaxPool2d`` and
        ``FractionalMaxPool3d``.

    Returns
    -------
    The layers that were replaced, by their names in ``model.named_modules()``, in that order.  A layer with two names
    has both.  A second call replaces nothing.

    Raises
    ------
    TypeError
        If ``model`` is not a module, or holds a ``torch.jit.ScriptModule``, whose layers are compiled.
    TypeError, ValueError
        If a layer has an argument that unpool refuses.  No layer is replaced then.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.AdaptiveMaxPool2d(4))
    >>> replace_layers(model)
    {'1': AdaptiveMaxPool2d(output_size=4)}
    >>> type(model[1]).__module__.partition(".")[0]
    'unpool'
    """
    if not isinstance(model, torch.nn.Module):
        raise _not_a_module(model)
    found = dict(model.named_modules(remove_duplicate=False))
    for name, layer in found.items():
        if isinstance(layer, torch.jit.ScriptModule):
            raise _compiled(name, layer)
    replaced = {name: layer for name, layer in found.items() if type(layer) in _OURS and "forward" not in vars(layer)}
    attributes = {name: _more_attributes(name, layer) for name, layer in replaced.items()}
    left = {
        name: layer
        for name, layer in found.items()
        if name not in replaced and isinstance(layer, tuple(_OURS)) and not isinstance(layer, layers.Unscriptable)
    }
    for name, layer in replaced.items():
        layer.__class__ = _OURS.get(type(layer), type(layer))  # a layer with two names is replaced once
        for attribute, value in attributes[name].items():
            setattr(layer, attribute, value)
    if left:
        warnings.warn(_left_as_they_are(left), stacklevel=2)
    return replaced


def _more_attributes(name: str, layer: torch.nn.Module) -> dict[str, Any]:
    """Return the attributes that a layer of unpool has beside those of `torch.nn`; check the others."""
    theirs, ours = type(layer), _OURS[type(layer)]
    if issubclass(ours, theirs):
        return {}
    try:
        made = ours(**{argument: getattr(layer, argument) for argument in inspect.signature(theirs).parameters})
    except (TypeError, ValueError) as error:
        error.add_note(f"The layer is {name!r}, {layer!r}. No layer was replaced.")
        raise
    return {argument: getattr(made, argument) for argument in ours.more}


# --- messages ---------------------------------------------------------------------------------------------------------


def _not_a_module(model: object) -> TypeError:
    return TypeError(
        f"`model` must be a torch.nn.Module, got {kind_of(model)}: pass the model, not its output or class"
    )


def _compiled(name: str, layer: torch.nn.Module) -> TypeError:
    return TypeError(
        f"`model` must hold no torch.jit.ScriptModule, whose layers are compiled, got {kind_of(layer)} as {name!r}: "
        f"pass the model as it was before torch.jit, and use torch.compile afterwards"
    )


def _left_as_they_are(left: dict[str, torch.nn.Module]) -> str:
    shown = ", ".join(f"{name!r} ({kind_of(layer)})" for name, layer in left.items())
    return (
        f"`model` has pooling layers that cannot be replaced, because their class is a subclass of torch.nn's, or they "
        f"have their own `forward`, got {shown}: replace them yourself if they call functions of torch.nn"
    )
