"""The stand-in for CuPy counts waits, refuses them in a capture, and has two devices and any number of streams."""

import numpy as np
import pytest
from stand_in import require_compiler

require_compiler()

KERNELS = r"""
extern "C" __global__ void count(int* to) { atomicAdd(to, 1); }
"""

# --- waiting ----------------------------------------------------------------------------------------------------------

WAITS = {
    "get": lambda cupy, array: array.get(),
    "item": lambda cupy, array: array.item(),
    "tolist": lambda cupy, array: array.tolist(),
    "__int__": lambda cupy, array: int(array),
    "__float__": lambda cupy, array: float(array),
    "__bool__": lambda cupy, array: bool(array),
    "__repr__": lambda cupy, array: repr(array),
    "synchronize": lambda cupy, array: cupy.cuda.get_current_stream().synchronize(),
}


@pytest.mark.parametrize("name", WAITS)
def test_waiting_is_counted_and_refused_in_a_capture(cupy, knobs, name):
    array = cupy.ones(())
    cupy.cuda_on_cpu.synchronised.clear()
    WAITS[name](cupy, array)
    assert cupy.cuda_on_cpu.synchronised == {name: 1}
    assert not cupy.cuda.get_current_stream().is_capturing()
    knobs(capturing=True)
    assert cupy.cuda.get_current_stream().is_capturing()
    with pytest.raises(RuntimeError, match="capturing"):
        WAITS[name](cupy, array)
    assert cupy.cuda_on_cpu.synchronised == {name: 1}


def test_nothing_else_waits(cupy, knobs, function):
    function("count")
    knobs(capturing=True)
    cupy.cuda_on_cpu.synchronised.clear()
    array = cupy.zeros((2, 3), np.int32)
    array[0] = 5
    array.data.memset_async(0, 4)
    function("count")((1,), (1,), (array[1:],))
    cupy.ascontiguousarray(array.T + 1).any().reshape(1)
    assert not cupy.cuda_on_cpu.synchronised
    assert cupy.empty(0).get().size == 0


# --- devices ----------------------------------------------------------------------------------------------------------


def test_an_array_is_on_the_device_that_was_current(cupy):
    assert cupy.cuda.runtime.getDeviceCount() == 2
    assert cupy.cuda.Device().id == 0
    first = cupy.zeros(3)
    with cupy.cuda.Device(1) as device:
        assert cupy.cuda.Device() == device
        second = cupy.zeros(3)
        with first.device:
            assert cupy.cuda.runtime.getDevice() == 0
        assert cupy.cuda.runtime.getDevice() == 1
    assert cupy.cuda.Device().id == 0
    assert (first.device.id, second.device.id, second[1:].device.id) == (0, 1, 1)
    assert first.device != second.device
    for mixed in (lambda: first + second, lambda: second + 1, lambda: first.__setitem__(0, second[0]), second.any):
        with pytest.raises(ValueError, match="device"):
            mixed()
    assert second.copy().device.id == 0
    assert second.get().tolist() == [0, 0, 0]


def test_devices_are_as_many_and_as_large_as_a_test_wants(cupy, knobs, monkeypatch):
    assert cupy.cuda.Device().attributes["MultiProcessorCount"] == 4
    monkeypatch.setitem(cupy.cuda_on_cpu.attributes, "MultiProcessorCount", 132)
    assert cupy.cuda.Device(1).attributes["MultiProcessorCount"] == 132
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError) as caught:
        cupy.cuda.Device(2).use()
    assert caught.value.status == 101
    knobs(device_count=0)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError) as caught:
        cupy.cuda.runtime.getDeviceCount()
    assert caught.value.status == 100


def test_streams_are_current_one_in_the_other(cupy):
    assert cupy.cuda.get_current_stream().ptr == 0
    with cupy.cuda.Stream() as outer:
        with cupy.cuda.Stream() as inner:
            assert cupy.cuda.get_current_stream() is inner
        assert cupy.cuda.get_current_stream() is outer
        assert outer.ptr != inner.ptr
    assert cupy.cuda.get_current_stream() is cupy.cuda.Stream.null
