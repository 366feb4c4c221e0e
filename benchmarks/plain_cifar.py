"""CIFAR training as widely used scripts write it, without this package: what its speed and accuracy stand beside.

    python benchmarks/plain_cifar.py --data cifar-10-batches-bin --layers 16 --widen-factor 2 --epochs 12

float32, channels first, and Python for each image: Pillow crops and flips it, it becomes a tensor and is normalised,
in the worker processes of a DataLoader. Cross-entropy, SGD with Nesterov momentum, one weight decay for everything, the
rate times 0.2 after 30, 60 and 80 % of the epochs (the paper's 60, 120 and 160 of 200). torchvision is not needed: the
four transforms below are what it does with a Pillow image.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

MEAN = [x / 255 for x in (125.3, 123.0, 113.9)]
STD = [x / 255 for x in (63.0, 62.1, 66.7)]
ROW = 1 + 3 * 32 * 32                              # bytes: a label and three planes


class RandomCrop:
    def __init__(self, size: int, padding: int) -> None:
        self.size, self.padding = size, padding

    def __call__(self, image: Image.Image) -> Image.Image:
        image = ImageOps.expand(image, self.padding, 0)
        x, y = (random.randint(0, side - self.size) for side in image.size)
        return image.crop((x, y, x + self.size, y + self.size))


class RandomHorizontalFlip:
    def __call__(self, image: Image.Image) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image


class ToTensor:
    def __call__(self, image: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


class Normalize:
    def __init__(self, mean: list[float], std: list[float]) -> None:
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __call__(self, planes: Tensor) -> Tensor:
        return planes.sub_(self.mean).div_(self.std)


class Compose:
    def __init__(self, transforms: list[Callable]) -> None:
        self.transforms = transforms

    def __call__(self, value):
        for transform in self.transforms:
            value = transform(value)
        return value


TRAIN = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip(), ToTensor(), Normalize(MEAN, STD)])
TEST = Compose([ToTensor(), Normalize(MEAN, STD)])


class ImageDataset(Dataset):
    """uint8 [N, 32, 32, 3] and their labels, one at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class BasicBlock(nn.Module):
    def __init__(self, in_planes: int, out_planes: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_planes, out_planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_planes)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_planes, out_planes, 3, 1, 1, bias=False)
        self.drop_rate = drop_rate
        self.equal = in_planes == out_planes
        self.shortcut = None if self.equal else nn.Conv2d(in_planes, out_planes, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(x))
        if not self.equal:
            x = self.shortcut(out)
        out = self.relu2(self.bn2(self.conv1(out)))
        if self.drop_rate > 0:
            out = F.dropout(out, p=self.drop_rate, training=self.training)
        return x + self.conv2(out)


class WideResNet(nn.Module):
    def __init__(self, layers: int, widen_factor: int, classes: int = 10, drop_rate: float = 0.0) -> None:
        super().__init__()
        n = (layers - 4) // 6
        widths = [16, 16 * widen_factor, 32 * widen_factor, 64 * widen_factor]
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        blocks = []
        for stage in range(3):
            for index in range(n):
                wide_in = widths[stage] if index == 0 else widths[stage + 1]
                stride = 2 if index == 0 and stage > 0 else 1
                blocks.append(BasicBlock(wide_in, widths[stage + 1], stride, drop_rate))
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(widths[3])
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(widths[3], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn(self.blocks(self.conv1(x))))
        return self.fc(F.avg_pool2d(out, 8).flatten(1))


def make_loader(images: np.ndarray, labels: np.ndarray, batch: int, workers: int, train: bool = True) -> DataLoader:
    dataset = ImageDataset(images, labels, TRAIN if train else TEST)
    return DataLoader(dataset, batch_size=batch, shuffle=train, num_workers=workers, drop_last=train)


def make_optimiser(model: nn.Module, rate: float) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=5e-4)


def take_step(model: nn.Module, optimiser: torch.optim.SGD, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Loss and accuracy of the batch, as such scripts print them."""
    output = model(images)
    loss = nn.CrossEntropyLoss()(output, labels)
    right = (output.argmax(1) == labels).float().mean().item()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item(), right


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    return sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader) / len(loader.dataset)


def rate_at(epoch: int, epochs: int, rate: float) -> float:
    return rate * 0.2 ** sum(epoch >= round(fraction * epochs) for fraction in (0.3, 0.6, 0.8))


def read(folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """The files of the extracted cifar-10-binary.tar.gz."""
    names = [f"data_batch_{k}.bin" for k in range(1, 6)] if train else ["test_batch.bin"]
    rows = np.concatenate([np.fromfile(folder / name, np.uint8).reshape(-1, ROW) for name in names])
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, 0].astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with data_batch_1.bin to test_batch.bin")
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--widen-factor", type=int, default=10)
    parser.add_argument("--droprate", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    loader = make_loader(*read(args.data, True), args.batch_size, args.workers)
    test = make_loader(*read(args.data, False), 500, args.workers, train=False)
    model = WideResNet(args.layers, args.widen_factor, drop_rate=args.droprate)
    optimiser = make_optimiser(model, args.lr)
    started = time.perf_counter()
    for epoch in range(args.epochs):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(epoch, args.epochs, args.lr)
        model.train()
        losses = [take_step(model, optimiser, images, labels)[0] for images, labels in loader]
        top1 = accuracy(model, test)
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}  loss {np.mean(losses):.4f}  top-1 {100 * top1:.2f} %  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
