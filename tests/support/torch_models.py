"""Names of the layers of `unpool.torch`, and models of them, for the tests of layers and of tracers."""

import torch

NAMES = [f"Max{kind}{rank}d" for kind in ("Pool", "Unpool") for rank in (1, 2, 3)]
INDEXED = [*[f"AdaptiveMaxPool{rank}d" for rank in (1, 2, 3)], "FractionalMaxPool2d", "FractionalMaxPool3d"]


class Net(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.convolve = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.pool = module.MaxPool2d(2, return_indices=True)
        self.unpool = module.MaxUnpool2d(2)

    def forward(self, x):
        values, indices = self.pool(self.convolve(x))
        return self.unpool(values, indices, output_size=x.shape)


class UNet3d(torch.nn.Module):
    """A U-Net of two levels for volumes, which restores them with the indices of its pooling."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (torch.nn.Conv3d(channels, 4, 3, padding=1) for channels in (1, 4))
        self.pool = torch.nn.MaxPool3d(3, 2, 1, return_indices=True)
        self.unpool = torch.nn.MaxUnpool3d(3, 2, 1)
        self.last = torch.nn.Conv3d(8, 1, 3, padding=1)

    def forward(self, x):
        skipped = self.first(x).relu()
        values, indices = self.pool(skipped)
        restored = self.unpool(self.second(values).relu(), indices, output_size=skipped.shape)
        return self.last(torch.cat([skipped, restored], 1))


class Classifier(torch.nn.Module):
    """A classifier of pictures of any size, with adaptive pooling to more cells than a picture has along one axis."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.pool = torch.nn.AdaptiveMaxPool2d((9, 5))
        self.scores = torch.nn.Conv2d(8, 4, (9, 5))

    def forward(self, x):
        return self.scores(self.pool(self.features(x).relu())).flatten(1)


def trained(make, x, target, change=lambda model: None, steps=3):
    """Make a model from a fixed seed, change it and train it under deterministic algorithms; return its weights."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        torch.manual_seed(0)
        model = make().to(x.device)
        change(model)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), target).backward()
            optimizer.step()
        return [weight.detach().clone() for weight in model.parameters()]
    finally:
        torch.use_deterministic_algorithms(before)
