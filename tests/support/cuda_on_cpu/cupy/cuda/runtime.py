from cupy import cuda, cuda_on_cpu

_MESSAGES = {
    35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
    100: "cudaErrorNoDevice: no CUDA-capable device is detected",
    101: "cudaErrorInvalidDevice: invalid device ordinal",
    900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing",
}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status):
        self.status = status
        super().__init__(_MESSAGES.get(status, str(status)))


def getDeviceCount():  # noqa: N802
    if not cuda_on_cpu.device_count:
        raise CUDARuntimeError(100)
    return cuda_on_cpu.device_count


def getDevice():  # noqa: N802
    return cuda.Device().id


def driverGetVersion():  # noqa: N802
    return 13000


def runtimeGetVersion():  # noqa: N802
    return 13000
