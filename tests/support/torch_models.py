"""Names of the layers of `unpool.torch`, and a model of them, for the tests of layers and of tracers."""

import torch

NAMES = [f"Max{kind}{rank}d" for kind in ("Pool", "Unpool") for rank in (1, 2, 3)]


class Net(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.convolve = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.pool = module.MaxPool2d(2, return_indices=True)
        self.unpool = module.MaxUnpool2d(2)

    def forward(self, x):
        values, indices = self.pool(self.convolve(x))
        return self.unpool(values, indices, output_size=x.shape)
