"""Private names of frameworks are used in a backend's `private.py` only, and eager calls work without them."""

import ast
from importlib import import_module
from pathlib import Path

import pytest
import unpool_backends
from needs import require, require_backend
from processes import posix, python
from unpool_backends.private_names import lookup

import unpool

BACKENDS = Path(unpool_backends.__file__).parent
CORE = Path(unpool.__file__).parent
FRAMEWORKS = {"torch": "torch", "tensorflow": "tensorflow", "cuda": "cupy"}
with_list = pytest.mark.parametrize("owner", FRAMEWORKS)


def names(owner):
    require(FRAMEWORKS[owner], "its private names are what is listed")
    return import_module(f"unpool_backends.{owner}.private").NAMES


# --- the list ---------------------------------------------------------------------------------------------------------


@with_list
def test_a_listed_name_is_there_and_its_end_is_described(owner):
    """If a framework drops a name, this test fails first. The entry says what to use instead."""
    found = names(owner)
    assert found.gone == []
    assert len({name.path for name in found}) == len(found) > 0
    for name in found:
        assert name.path.startswith(f"{FRAMEWORKS[owner]}.")
        assert all(sentence.endswith(".") for sentence in (name.use, name.breaks, name.instead))


def test_a_name_is_looked_up_without_raising():
    assert lookup("os.path.join") is __import__("os").path.join
    assert lookup("xml.dom.minidom.parse") is import_module("xml.dom.minidom").parse  # a module not imported yet
    assert lookup("os.path.gone") is lookup("os.gone.join") is None


# --- the other files --------------------------------------------------------------------------------------------------

PRIVATE_PACKAGES = ("tensorflow.python", "tf.python", "keras.src", "jax._src", "jaxlib", "cupy_backends")
LISTS = sorted(BACKENDS.glob("*/private.py"))
FILES = [
    path
    for path in sorted([*BACKENDS.rglob("*.py"), *(CORE / "keras").glob("*.py"), *(CORE / "torch").glob("*.py")])
    if path not in LISTS
]


def listed():
    """Return the last part of every name in the lists, without importing the frameworks."""
    calls = [node for path in LISTS for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    finds = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "find"]
    return {call.args[0].value.rpartition(".")[2] for call in finds}


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def is_private_module(module):
    ours = module.partition(".")[0] in ("unpool", "unpool_backends")
    hidden = any(module == package or module.startswith(f"{package}.") for package in PRIVATE_PACKAGES)
    return not ours and (hidden or any(map(is_private, module.split("."))))


def private_uses(tree, banned):
    """Yield every private or listed name of another package that a program uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_private_module(alias.name))
        elif isinstance(node, ast.ImportFrom):
            paths = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (path for path in paths if is_private_module(path) or path.rpartition(".")[2] in banned)
        elif isinstance(node, ast.Attribute):
            owner, whole = ast.unparse(node.value), ast.unparse(node)
            hidden = is_private(node.attr) or node.attr in banned or whole in PRIVATE_PACKAGES
            if hidden and owner not in ("self", "cls", "private"):
                yield whole
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(name.value) and ast.unparse(node.args[0]) != "self":
                yield ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_other_file_uses_a_private_name(path):
    assert list(private_uses(parsed(path), listed())) == []


@pytest.mark.parametrize(
    "program",
    [
        "import torch._C",
        "import tensorflow.python.ops",
        "from torch._subclasses.fake_tensor import is_fake",
        "from torch.autograd.function import _SingleLevelFunction",
        "from tensorflow.python import ops",
        "import tensorflow as tf\ntf.python.ops",
        "from jax import _src",
        "torch._C._is_fwd_grad_enabled()",
        "x = array._committed",
        "operator.redispatch(keyset)",
        "getattr(torch, '_C')",
    ],
)
def test_the_scan_finds(program):
    assert list(private_uses(ast.parse(program), listed()))


def test_the_scan_has_something_to_scan():
    assert {path.parent.name for path in FILES} >= {"cpu", "cuda", "tensorflow", "torch", "jax", "keras"}
    assert {path.parent.name for path in LISTS} == set(FRAMEWORKS)
    assert {"_AutoDispatchBelowAutograd", "GraphOrParentsInXlaContext", "getVersion"} <= listed()


# --- without them -----------------------------------------------------------------------------------------------------

# The framework itself uses these names in the calls below, so they are hidden from unpool, but not deleted.
KEPT = {
    "torch": (
        "torch.autograd.function._SingleLevelFunction",
        "torch._C._AutoDispatchBelowAutograd",
        "torch._C._after_autograd_keyset",
        "torch._ops.OpOverload.redispatch",
        "torch._C._are_functorch_transforms_active",
        "torch.autograd.forward_ad._current_level",
        "torch._C._dispatch_tls_local_include_set",
        "torch._C._dispatch_tls_is_dispatch_key_excluded",
        "torch._C._dispatch_keys",
        "torch._C.DispatchKeySet",
        "torch._C.DispatchKey",
    ),
    "tensorflow": ("tensorflow.python.ops.control_flow_util.GraphOrParentsInXlaContext",),
    "cuda": ("cupy.cuda.nvrtc.getVersion",),
}
# A forked child tests each name, and the process itself all of them: registered operators last as long as a process.
WITHOUT = """
import os, traceback
from unpool_backends import private_names
import {framework}

def take_away(gone, kept):
    real = private_names.lookup
    for path in set(gone) - set(kept):
        owner, _, name = path.rpartition(".")
        delattr(real(owner), name)
    private_names.lookup = lambda path: None if path in gone else real(path)

def main(gone):
    take_away(gone, {kept!r})
    from unpool_backends.{backend} import private
    assert private.NAMES.gone == gone, private.NAMES.gone
    import unpool
    call()

{call}

paths = {paths!r}
for path in paths if len(paths) > 1 else []:
    child = os.fork()
    if not child:
        status = 1
        try:
            main([path])
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, path
main(paths)
"""
X = [[[[1, 2, 5], [3, 9, 4], [7, 6, 8]]]]  # 9 is the maximum of all four windows
CALLS = {
    "torch": f"""
def call():
    import torch, unpool
    x = torch.tensor({X}, dtype=torch.float32, requires_grad=True)
    values, indices = unpool.max_pool2d(x, 2, 1, return_indices=True)
    assert values.tolist() == [[[[9, 9], [9, 9]]]] and indices.tolist() == [[[[4, 4], [4, 4]]]]
    planes = unpool.max_unpool2d(values**2, indices, 2, 1, duplicates="sum")
    assert planes.tolist() == [[[[0, 0, 0], [0, 324, 0], [0, 0, 0]]]]
    first, = torch.autograd.grad(planes.sum(), x, create_graph=True)
    assert first.tolist() == [[[[0, 0, 0], [0, 72, 0], [0, 0, 0]]]]
    first.sum().backward()
    assert x.grad.tolist() == [[[[0, 0, 0], [0, 8, 0], [0, 0, 0]]]]
    x.grad = None
    unpool.max_pool2d(x, 2, 1).sum().backward()
    assert x.grad.tolist() == [[[[0, 0, 0], [0, 4, 0], [0, 0, 0]]]]
    taken = unpool.max_unpool2d_backward(x, indices, 2, 1)
    assert taken.tolist() == [[[[0, 0], [0, 9]]]]
    x.grad = None
    taken.sum().backward()
    assert x.grad.tolist() == [[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]]
    with torch.no_grad():
        out = torch.empty(1, 1, 2, 2)
        assert unpool.max_pool2d(x, 2, 1, out=out) is out and out.tolist() == values.tolist()
    from unpool_backends.torch import private
    gone = set(private.NAMES.gone)
    assert private.plainly_dispatched(x) == gone.isdisjoint({{
        "torch.autograd.forward_ad._current_level",
        "torch.autograd._profiler_enabled",
        "torch._C._dispatch_tls_local_include_set",
        "torch._C._dispatch_tls_is_dispatch_key_excluded",
        "torch._C._dispatch_keys",
        "torch._C.DispatchKeySet",
        "torch._C.DispatchKey",
    }})
    try:
        unpool.convert_indices(indices + 9, "plane", "onnx", output_size=x.shape)
    except IndexError:
        pass
    else:
        raise AssertionError("a bad index is not refused")
    tangents(x.detach(), {X})

def tangents(x, rows):
    import torch, unpool
    from torch.autograd import forward_ad
    from unpool_backends.torch import private
    with forward_ad.dual_level():
        try:
            pooled = unpool.max_pool2d(forward_ad.make_dual(x, torch.ones_like(x)), 2, 1)
        except NotImplementedError as error:
            assert not private.OWN_DERIVATIVES and private.NAMES.gone[0] in str(error)
        else:
            assert private.OWN_DERIVATIVES and forward_ad.unpack_dual(pooled).tangent.sum() == 4
""",
    "tensorflow": f"""
def call():
    import tensorflow as tf, unpool
    x = tf.constant({X}, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        values, indices = unpool.max_pool2d(x, 2, 1, return_indices=True)
        planes = unpool.max_unpool2d(values**2, indices, 2, 1, duplicates="sum")
    assert planes.numpy().tolist() == [[[[0, 0, 0], [0, 324, 0], [0, 0, 0]]]]
    assert tape.gradient(planes, x).numpy().tolist() == [[[[0, 0, 0], [0, 72, 0], [0, 0, 0]]]]
    bad = tf.function(lambda v, i: unpool.max_unpool2d(v, i + 9, 2, 1))
    try:
        bad(values, indices)
    except tf.errors.InvalidArgumentError as error:
        assert "indices[0, 0, 0, 0] = 13 is out of range for an output plane of 3 x 3" in str(error)
    else:
        raise AssertionError("a bad index in a graph is not refused")
    unchecked = tf.function(lambda v, i: unpool.max_unpool2d(v, i, 2, 1, validate=False), jit_compile=True)
    assert unchecked(values, indices).numpy().tolist() == [[[[0, 0, 0], [0, 9, 0], [0, 0, 0]]]]
""",
    "cuda": f"""
def call():
    import cupy, unpool
    assert unpool.registry.why_not("cuda") is None
    x = cupy.asarray({X}, "float32")
    values, indices = unpool.max_pool2d(x, 2, 1, return_indices=True)
    planes = unpool.max_unpool2d(values**2, indices, 2, 1, duplicates="sum")
    assert planes.get().tolist() == [[[[0, 0, 0], [0, 324, 0], [0, 0, 0]]]]
    gradient = unpool.max_pool2d_backward(cupy.asarray([[[[1, 1], [1, 1]]]], "float32"), indices, x.shape, 2, 1)
    assert gradient.get().tolist() == [[[[0, 0, 0], [0, 4, 0], [0, 0, 0]]]]
""",
}


@posix
@with_list
def test_eager_calls_need_none_of_them(owner):
    paths = [name.path for name in names(owner)]
    if owner == "cuda":
        require_backend(owner)
    program = WITHOUT.format(
        framework=FRAMEWORKS[owner], backend=owner, kept=KEPT[owner], call=CALLS[owner], paths=paths
    )
    result = python("-c", program)
    assert result.returncode == 0, result.stderr
