"""The private names of PyTorch that this backend uses; its other files import them from here.

Most serve one of two purposes.  A derivative calls its operator again at the next level of `torch.func` or of forward
mode; without a name for that, `OWN_DERIVATIVES` is False, and `operators` registers the same formulas by the public
API.  An eager call skips the dispatcher; without a name for that, it uses the operators (`plainly_dispatched`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.overrides import has_torch_function

from unpool_backends.private_names import Names

NAMES = Names()

_BREAKS = "Derivatives by `torch.func` and in forward mode, which raise; `torch.vmap` works."
_INSTEAD = "`torch.library.register_autograd`, with the same formulas in reverse mode, to any order."
_SLOWER = "Eager calls use the operators, whose result is copied to `out=`."

# --- derivatives ------------------------------------------------------------------------------------------------------

SingleLevelFunction: Any = NAMES.find(
    "torch.autograd.function._SingleLevelFunction",
    use="Base class of a derivative for one level of `torch.func`; a plain `Function` takes all levels at once.",
    breaks=_BREAKS,
    instead=_INSTEAD,
)
enable_single_level_function: Any = NAMES.find(
    "torch._functorch.utils.enable_single_level_autograd_function",
    use="Context in which PyTorch lets such a class be applied.",
    breaks=_BREAKS,
    instead=_INSTEAD,
)
compiled_autograd_key: Any = NAMES.find(
    "torch.autograd.Function._compiled_autograd_key",
    use="Key of a derivative in a backward pass that compiled autograd traces; such a class has none of its own.",
    breaks=_BREAKS,
    instead=_INSTEAD,
)
BelowAutograd: Any = NAMES.find(
    "torch._C._AutoDispatchBelowAutograd",
    use="Context that excludes the autograd keys while a derivative calls its operator.",
    breaks=_BREAKS,
    instead=_INSTEAD,
)
after_autograd: Any = NAMES.find(
    "torch._C._after_autograd_keyset",
    use="The dispatch keys that come after autograd.",
    breaks=_BREAKS,
    instead=_INSTEAD,
)
redispatch: Any = NAMES.find(
    "torch._ops.OpOverload.redispatch",
    use="Calls an operator at the first of the dispatch keys that are left.",
    breaks=_BREAKS,
    instead=_INSTEAD,
)
is_forward_mode_enabled: Any = NAMES.find(
    "torch._C._is_fwd_grad_enabled",
    use="Reads whether forward mode records; a `Function` turns that off for all levels.",
    breaks=_BREAKS,
    instead=_INSTEAD,
)
set_forward_mode_enabled: Any = NAMES.find(
    "torch.autograd.forward_ad._set_fwd_grad_enabled",
    use="Context that turns it on again for the outer levels.",
    breaks=_BREAKS,
    instead=_INSTEAD,
)
_are_transforms_active: Any = NAMES.find(
    "torch._C._are_functorch_transforms_active",
    use="Test that a transform of `torch.func` is active.",
    breaks=f"{_BREAKS} And `convert_indices` inside `torch.vmap`, which reads values there.",
    instead=f"{_INSTEAD} `convert_indices` reads values.",
)
_level: Any = NAMES.find(
    "torch.autograd.forward_ad._current_level",
    use="Test that a level of forward mode is open: -1 is none.",
    breaks=_BREAKS,
    instead=f"{_INSTEAD} {_SLOWER}",
)
_TRANSFORMS_KNOWN = _are_transforms_active is not None and _level is not None

OWN_DERIVATIVES = _TRANSFORMS_KNOWN and all(
    found is not None  # a set of dispatch keys does not compare with None
    for found in (
        SingleLevelFunction,
        enable_single_level_function,
        compiled_autograd_key,
        BelowAutograd,
        after_autograd,
        redispatch,
        is_forward_mode_enabled,
        set_forward_mode_enabled,
    )
)


def mapped() -> bool:
    """Return True inside a transform of `torch.func`; False if the name is missing."""
    return _are_transforms_active is not None and bool(_are_transforms_active())


def transformed() -> bool:
    """Return True inside `torch.func` and forward mode, and if a name is missing: the slower path is always right."""
    return not _TRANSFORMS_KNOWN or bool(_are_transforms_active()) or bool(forward_ad._current_level >= 0)


def without_tangents(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operator that refuses tangents instead of dropping them silently; itself with `OWN_DERIVATIVES`."""
    if OWN_DERIVATIVES:
        return operator

    def call(*arguments: Any) -> Any:
        if not torch.compiler.is_compiling() and any(map(_has_tangent, arguments)):
            raise NotImplementedError(
                f"tensors must have no tangent without {', '.join(NAMES.gone)}, which PyTorch {torch.__version__} does "
                "not have, got one with a tangent: differentiate by `backward` or `torch.autograd.grad`, or install "
                "PyTorch 2.13"
            )
        return operator(*arguments)

    return call


def _has_tangent(argument: Any) -> bool:
    return isinstance(argument, torch.Tensor) and forward_ad.unpack_dual(argument).tangent is not None


# --- the dispatcher ---------------------------------------------------------------------------------------------------

_keys_of: Any = NAMES.find(
    "torch._C._dispatch_keys",
    use="Dispatch keys of a tensor: its device, and the subclasses, transforms and views that have a rule for it.",
    breaks="Nothing.",
    instead=_SLOWER,
)
_included: Any = NAMES.find(
    "torch._C._dispatch_tls_local_include_set",
    use="Dispatch keys that modes, tracers and transforms add to all calls of a thread.",
    breaks="Nothing.",
    instead=_SLOWER,
)
_is_excluded: Any = NAMES.find(
    "torch._C._dispatch_tls_is_dispatch_key_excluded",
    use="Test that a thread skips a dispatch key, as those of autograd in the kernel of an operator.",
    breaks="Nothing.",
    instead=_SLOWER,
)
_KeySet: Any = NAMES.find(
    "torch._C.DispatchKeySet",
    use="Set of dispatch keys.",
    breaks="Nothing.",
    instead=_SLOWER,
)
_Key: Any = NAMES.find(
    "torch._C.DispatchKey",
    use="The dispatch keys by name.",
    breaks="Nothing.",
    instead=_SLOWER,
)
_FunctionBase: Any = NAMES.find(
    "torch._C._FunctionBase",
    use="Its `apply`, which `Function.apply` calls where no transform of `torch.func` is active.",
    breaks="Nothing.",
    instead="`Function.apply`, which takes 3 us longer.",
)
_is_profiled: Any = NAMES.find(
    "torch.autograd._profiler_enabled",
    use="Test that a profiler records, which sees operators and no direct calls of kernels.",
    breaks="Nothing.",
    instead=_SLOWER,
)
_DISPATCHER_KNOWN = None not in (_level, _keys_of, _included, _is_excluded, _KeySet, _Key, _is_profiled)
if _DISPATCHER_KNOWN:
    # The keys of a call that nothing intercepts, outside of inference mode and inside.
    _USUAL = [_KeySet(_Key.BackendSelect) | _KeySet(_Key.ADInplaceOrView), _KeySet(_Key.BackendSelect)]
    # The keys of a tensor that has no rule of its own, made outside of inference mode and inside.
    _PLAIN = {
        device: [keys | _KeySet(getattr(_Key, f"Autograd{device}")) | _KeySet(_Key.ADInplaceOrView), keys]
        for device in ("CPU", "CUDA")
        for keys in [_KeySet(getattr(_Key, device)) | _KeySet(getattr(_Key, f"Autocast{device}"))]
    }
    # The keys of autograd are excluded together.
    _AUTOGRAD = _Key.AutogradOther


def plainly_dispatched(*tensors: Any) -> bool:
    """Return True if the dispatcher would do nothing but record a derivative and call the kernels of unpool.

    All tensors then lie on the device of the first.  False if a name is missing: the operators are always right.
    """
    if (
        torch.compiler.is_dynamo_compiling()  # first and by this name: Dynamo then traces nothing of the rest
        or not _DISPATCHER_KNOWN
        or _is_profiled()
        or forward_ad._current_level >= 0
        or has_torch_function(tensors)
        or _included() not in _USUAL
    ):
        return False
    plain = _PLAIN["CPU" if tensors[0].is_cpu else "CUDA"]
    for tensor in tensors:  # noqa: SIM110 - all() takes twice as long
        if _keys_of(tensor) not in plain:
            return False
    return True


def apply_of(function: type[torch.autograd.Function]) -> Any:
    """Return the `apply` of a derivative for calls that are `plainly_dispatched`."""
    return function.apply if _FunctionBase is None else _FunctionBase.__dict__["apply"].__get__(None, function)


def is_autograd_included() -> bool:
    """Return False in inference mode and in the kernel of an operator, where the dispatcher skips autograd."""
    return not _is_excluded(_AUTOGRAD)


# --- tracers ----------------------------------------------------------------------------------------------------------

_is_fake: Any = NAMES.find(
    "torch._subclasses.fake_tensor.is_fake",
    use="Test that a tensor of a trace has no values, which `convert_indices` would check.",
    breaks="`convert_indices` does not check the values of a subclass of `torch.Tensor`.",
    instead="The type of the tensor.",
)


def is_fake(tensor: Any) -> bool:
    """Return True for a tensor without values; for every subclass of `torch.Tensor` if the name is missing."""
    if _is_fake is None:
        return type(tensor) not in (torch.Tensor, torch.nn.Parameter)
    return bool(_is_fake(tensor))
