"""The errors of the CUDA backend alone; `unpool.errors` has the errors that several backends raise."""

from __future__ import annotations

from unpool.errors import BackendUnavailableError, is_result


def wrong_device(argument: str, device: object, expected: object) -> TypeError:
    advice = "pass an empty array there" if is_result(argument) else f"pass cupy.asarray({argument})"
    return TypeError(
        f"`{argument}` must be on the device of the other arrays, got device {device}, but the other arrays are on "
        f"device {expected}: {advice}, within `with cupy.cuda.Device({expected}):`"
    )


def foreign_byte_order(argument: str, dtype: object) -> ValueError:
    return ValueError(
        f"`{argument}` must be in the byte order of the device, got {dtype}: swap the bytes before the copy to the "
        f"GPU, for example with numpy's array.astype(array.dtype.newbyteorder('='))"
    )


def cannot_wait() -> ValueError:
    return ValueError(
        "`duplicates` must be 'last' or 'sum' while a CUDA graph is captured, got 'error', which waits for the "
        "kernel's report: check the indices before the capture"
    )


def missing_driver(needed: int) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend 'cuda' needs an NVIDIA driver, found none: install one for CUDA {needed // 1000}; in a container, "
        f"pass the GPUs to it, as `docker run --gpus all` does"
    )


def old_driver(served: int, needed: int) -> BackendUnavailableError:
    """Return the error for two versions in CUDA's notation: 12080 is 12.8."""
    return BackendUnavailableError(
        f"backend 'cuda' needs a newer NVIDIA driver, found one for CUDA {_version(served)} where CuPy is built for "
        f'{_version(needed)}: update it, or pip install "cupy-cuda{served // 1000}x[ctk]" in place of this CuPy'
    )


def no_device(visible: str | None) -> BackendUnavailableError:
    if visible is None:
        found, advice = "", "see that nvidia-smi lists one"
    else:
        found, advice = f" with CUDA_VISIBLE_DEVICES={visible!r}", "unset it, or name what nvidia-smi lists"
    return BackendUnavailableError(
        f"backend 'cuda' needs a CUDA device, found none{found}: {advice}, and start Python anew"
    )


def forked_after_cuda(cause: BaseException) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend 'cuda' does not work in a process that was forked after CUDA had been used ({cause}): start it by "
        f"the method 'spawn' or 'forkserver', for example with multiprocessing.get_context('spawn')"
    )


def failing_cuda(cause: BaseException) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend 'cuda' needs CUDA to start, found {cause}: run nvidia-smi for the reason, then start Python anew"
    )


def missing_nvrtc(built_for: int) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend 'cuda' needs NVRTC to compile its kernels, found none that loads: pip install "
        f'"cupy-cuda{built_for // 1000}x[ctk]"'
    )


def _version(cuda: int) -> str:
    return f"{cuda // 1000}.{cuda % 1000 // 10}"
