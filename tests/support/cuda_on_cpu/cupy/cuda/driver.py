_MESSAGES = {
    1: "CUDA_ERROR_INVALID_VALUE: invalid argument",
    500: "CUDA_ERROR_NOT_FOUND: named symbol not found",
    701: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch",
}


class CUDADriverError(RuntimeError):
    def __init__(self, status):
        self.status = status
        super().__init__(_MESSAGES[status])
