"""Compare unpool on PyTorch tensors and JAX arrays with the usual alternatives, in a Markdown table.

    python benchmarks/programs.py [--quick] [--rounds 3] [--threads N] [--json FILE]

unpool, PyTorch           on CPU tensors
torch.nn.functional       the same functions of PyTorch
unpool, JAX               compiled by `jax.jit`, and eagerly
recipe, JAX               compiled: ``.at[].set``, mapped over planes, to unpool; `lax.reduce_window` to pool, which
                          returns values without indices

A gradient is a forward and a backward pass, for the values or the plane.  Each of the four peers runs in its own
process, one after the other.  A figure is the median, over the rounds, of each process's median.  Before a call is
timed, its result is compared with unpool's on NumPy arrays.  If it differs, the report names the call and has no time.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from math import prod
from typing import Any

import unpool
from unpool.__main__ import as_program, new_file, positive, show
from unpool.bench import measure
from unpool.bench.cases import Case, Data
from unpool.bench.peers import Call, Peer
from unpool.bench.report import start, table, usable_cores

SECONDS, QUICK = 1.0, 0.3  # a call, in each process
CASES = (
    Case("unpool k2", "unpool"),
    Case("unpool k2 and gradient", "unpool_backward", duplicates="sum"),
    Case("unpool k3 s2", "unpool", kernel=3, stride=2),
    Case("pool k2", "pool"),
    Case("pool k2 and gradient", "pool_backward"),
    Case("pool k3 s2", "pool", kernel=3, stride=2),
    Case("pool k3 s2 and gradient", "pool_backward", kernel=3, stride=2),
    Case("unpool k2, (1, 1, 2, 2)", "unpool", (1, 1, 4, 4)),
    Case("unpool k2 and gradient, (1, 1, 2, 2)", "unpool_backward", (1, 1, 4, 4), duplicates="sum"),
    Case("pool k2, (1, 1, 2, 2)", "pool", (1, 1, 4, 4)),
    Case("pool k2 and gradient, (1, 1, 2, 2)", "pool_backward", (1, 1, 4, 4)),
)


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def of_torch(torch: Any, ours: bool, data: Data) -> dict[str, Call]:
    case, functional = data.case, unpool if ours else torch.nn.functional
    plane, values, indices = map(torch.from_numpy, (data.plane, data.values, data.indices))
    size = {"output_size": case.output_size}

    def pool(plane: Any) -> Any:
        return functional.max_pool2d(plane, case.kernel, case.stride, return_indices=True)

    def scatter(values: Any) -> Any:
        return functional.max_unpool2d(values, indices, case.kernel, case.stride, **size)

    def slope(function: Callable[[Any], Any], at: Any, upstream: Any) -> Any:
        at = at.detach().requires_grad_()
        result = function(at)
        return torch.autograd.grad(result[0] if isinstance(result, tuple) else result, at, upstream)[0]

    run = {
        "unpool": partial(scatter, values),
        "unpool_backward": partial(slope, scatter, values, plane),
        "pool": partial(pool, plane),
        "pool_backward": partial(slope, pool, plane, values),
    }[case.operation]
    name = "unpool, PyTorch" if ours else "torch.nn.functional"
    return {name: Call(run, lambda result: as_arrays(result, lambda tensor: tensor.numpy()))}


def as_arrays(result: Any, make: Callable[[Any], Any]) -> Any:
    return tuple(map(make, result)) if isinstance(result, tuple) else make(result)


# --- JAX --------------------------------------------------------------------------------------------------------------


def of_jax(jax: Any, ours: bool, data: Data) -> dict[str, Call]:
    import numpy as np

    case, jnp = data.case, jax.numpy
    plane, values, indices = map(jnp.array, (data.plane, data.values, data.indices))

    def our_pool(plane: Any, indices: Any) -> Any:
        return unpool.max_pool2d(plane, case.kernel, case.stride, return_indices=True)

    def our_scatter(values: Any, indices: Any) -> Any:
        return unpool.max_unpool2d(values, indices, case.kernel, case.stride, output_size=case.output_size)

    def their_pool(plane: Any, indices: Any) -> Any:
        kernel, stride, _ = case.window
        largest = jax.lax.reduce_window(plane, -np.inf, jax.lax.max, (1, 1, *kernel), (1, 1, *stride), "VALID")
        return largest, indices  # passed in: the recipe does not compute them, and saves that time

    def their_scatter(values: Any, indices: Any) -> Any:
        def of_plane(values: Any, indices: Any) -> Any:
            return jnp.zeros(prod(case.spatial), values.dtype).at[indices.reshape(-1)].set(values.reshape(-1))

        return jax.vmap(jax.vmap(of_plane))(values, indices).reshape(case.shape)

    pool, scatter = (our_pool, our_scatter) if ours else (their_pool, their_scatter)
    function, at = (pool, plane) if case.operation.startswith("pool") else (scatter, values)
    given: tuple[Any, ...] = (at, indices)
    call = function
    if case.operation.endswith("backward"):
        given = (at, indices, values if function is pool else plane)

        def call(at: Any, indices: Any, upstream: Any) -> Any:
            def result(at: Any) -> Any:
                found = function(at, indices)
                return found[0] if isinstance(found, tuple) else found

            return jax.vjp(result, at)[1](upstream)[0]

    modes = (
        {"unpool, JAX, jit": jax.jit(call), "unpool, JAX, eager": call} if ours else {"recipe, JAX, jit": jax.jit(call)}
    )
    return {
        name: Call(lambda run=run: jax.block_until_ready(run(*given)), lambda result: as_arrays(result, np.asarray))
        for name, run in modes.items()
    }


# --- the command ------------------------------------------------------------------------------------------------------

PEERS = {
    f"{framework}, {'unpool' if ours else 'its own'}": Peer(
        needs=(framework, "numpy"),
        install=framework,
        columns=(f"{'unpool' if ours else 'their own'}, {framework}",),
        program=f"import programs; programs.serve({framework!r}, {ours})",
    )
    for framework in ("torch", "jax")
    for ours in (True, False)
}


def serve(framework: str, ours: bool) -> None:
    """Run a peer's process: answer the request of `measure.add_round`."""
    module = import_module(framework)
    if framework == "torch":
        module.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    else:
        module.config.update("jax_enable_x64", True)
    measure.serve(partial({"torch": of_torch, "jax": of_jax}[framework], module, ours))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="one round, and less time for each call")
    add("--rounds", type=positive, metavar="N", help="(default: 3, or 1 with --quick)")
    add("--threads", type=positive, default=usable_cores(), metavar="N", help="threads per peer (default: the cores)")
    add("--json", type=new_file, metavar="FILE", help="write every run to a file")
    options = parser.parse_args()
    report = start(CASES, options.threads)
    for _ in range(options.rounds or (1 if options.quick else 3)):
        measure.add_round(report, PEERS, QUICK if options.quick else SECONDS)
    columns = {answer["column"]: None for answers in report["rounds"] for answer in answers if answer.get("column")}
    show(table(report | {"columns": list(columns)}), report, options.json)


if __name__ == "__main__":
    as_program(main)
