"""How often the convention of a checkpoint is found: networks trained under each, then read without being told.

    python benchmarks/identify.py train --data cifar-10-batches-bin networks/
    python benchmarks/identify.py measure --data cifar-10-batches-bin networks/ -o results/identify/DATE.json

``train`` makes small CIFAR-10 networks that differ in normalisation, activation, shortcut, stride and padding. Their
files hold tensors under one set of key names, those of WideResNet-pytorch, so that names tell nothing. A network that
is in the folder already is skipped, and so is one that was started: several processes can share a folder (after one was
killed, remove the ``.started`` without a ``.pth``).
Training as in the common scripts: crops of images padded by 4 and flips, before normalisation; cross-entropy, SGD with
Nesterov momentum, one-cycle rate, weight decay on everything.

``measure`` reads each file with ``identify``, the function of ``wrn identify``, on training and on test images without
labels, and with ``--labels`` also on test images with them. It counts how often the first choice is right and prints
tables. Stride, padding and epsilon are not among its candidates: they stay at the defaults, wrong for some networks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wideresnet.architectures import Variant, get_architecture, with_variant
from wideresnet.datasets.cifar import read_cifar10
from wideresnet.datasets.statistics import NORMALISATIONS
from wideresnet.models import create_model
from wideresnet.records import FileFacts
from wideresnet.records.identification import Fit
from wideresnet.records.progress import follow
from wideresnet.tasks.identify.identify import identify
from wideresnet.tasks.load.weights_file import read_file
from wideresnet.training.augment import crop_and_flip, reflect_pad, standardise, to_planes

BATCH, PADDING = 128, 4                            # images; pixels
Document, Case = dict[str, Any], tuple[str, bool]
CASES: tuple[Case, ...] = (("train", False), ("test", False), ("test", True))     # images, whether with labels


@dataclass(frozen=True)
class Convention:
    """What a training script decides and its file does not say."""

    normalisation: str                             # a name of NORMALISATIONS
    variant: Variant = field(default_factory=dict)
    borders: str = "black"                         # of padded images, or "reflect"
    momentum: float = 0.1                          # of the running statistics
    architecture: str = "wrn_10_1"
    seed: int = 0

    @property
    def name(self) -> str:
        """The file's name without ending, such as ``wrn_10_1-cifar10-silu-same-0``."""
        values = [f"{value:g}" if isinstance(value, float) else str(value) for value in self.variant.values()]
        borders = [self.borders] if self.borders != "black" else []
        return "-".join([self.architecture, self.normalisation, *values, *borders, str(self.seed)])


SEMI_SUPERVISED: Variant = {"activation": "leaky_relu", "shortcut": "skip_norm"}
# "none" is "unit"; "cifar10-paper" has the numbers of "cifar10" rounded otherwise.
SAME = {"cifar10-paper": "cifar10", "none": "unit"}
DISTINCT = [name for name in NORMALISATIONS if name not in SAME]
ACTIVATIONS: list[Variant] = [{"activation": "leaky_relu"}, {"activation": "silu"}]
CONVENTIONS = [
    *(Convention(name) for name in DISTINCT),
    *(Convention(name, variant) for variant in ACTIVATIONS for name in ("cifar10", "unit")),
    Convention("cifar10", {"shortcut": "raw"}),
    Convention("cifar10", {"shortcut": "always"}),
    Convention("cifar10", SEMI_SUPERVISED, momentum=0.03),
    Convention("imagenet", SEMI_SUPERVISED | {"final_bn_eps": 1e-3}, momentum=0.03),
    Convention("cifar10-paper", SEMI_SUPERVISED | {"bn_eps": 1e-3}, "reflect", 0.03),
    Convention("cifar10", {"activation": "silu", "padding": "same"}),
    Convention("cifar10-per-image", {"shortcut": "raw", "stride_on": "conv2"}),
    Convention("cifar10-per-image", {"shortcut": "always"}),
    Convention("cifar100", {"shortcut": "raw"}),
    Convention("unit", borders="reflect"),
    *(Convention(name, architecture="wrn_16_1") for name in DISTINCT if name not in ("cifar100", "svhn", "byte")),
    Convention("cifar10", SEMI_SUPERVISED, "reflect", 0.03, "wrn_16_1"),
    Convention("unit", {"activation": "silu", "padding": "same"}, architecture="wrn_16_1"),
    Convention("cifar10-per-image", {"shortcut": "raw", "stride_on": "conv2"}, architecture="wrn_16_1"),
    Convention("cifar10-per-image", {"shortcut": "always"}, architecture="wrn_16_1"),
    *(Convention(name, seed=1) for name in DISTINCT),
]


@dataclass(frozen=True)
class Images:
    """Training and test images uint8 [N, 32, 32, 3] and their classes int64 [N]."""

    train: Tensor
    train_classes: Tensor
    test: Tensor
    test_classes: Tensor


def train_all(folder: Path, data: Path, epochs: float) -> None:
    """Train what is missing of CONVENTIONS: ``NAME.pth`` is a bare state dict, ``NAME.json`` says how it was made."""
    folder.mkdir(parents=True, exist_ok=True)
    images = read_images(data)
    for convention in CONVENTIONS:
        path = folder / f"{convention.name}.pth"
        try:
            path.with_suffix(".started").touch(exist_ok=False)
        except FileExistsError:                    # by another process, or finished
            continue
        started = time.perf_counter()
        model = train(convention, images, epochs)
        top1 = accuracy(model, images, convention)
        seconds = round(time.perf_counter() - started)
        torch.save(xternalz_names(model.state_dict()), path)
        record = asdict(convention) | {"epochs": epochs, "top1": top1, "seconds": seconds, "torch": torch.__version__}
        path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        print(f"{convention.name}  top-1 {100 * top1:.2f} %  {seconds} s", flush=True)


def read_images(data: Path) -> Images:
    """Read CIFAR-10."""
    arrays = read_cifar10(data)
    both = (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels)
    return Images(*map(torch.from_numpy, both))


def train(convention: Convention, images: Images, epochs: float) -> nn.Module:
    """Train one network."""
    torch.manual_seed(convention.seed)
    model = create_model(with_variant(get_architecture(convention.architecture), convention.variant))
    model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = convention.momentum
    count_idle_norms(model)
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = round(epochs * (len(images.train) // BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.2, steps, cycle_momentum=False)
    padded = pad(images.train, convention.borders)
    batches = (batch for epoch in count() for batch in augmented_batches(padded, convention.seed + 1000 * epoch))
    for step, (rows, batch) in enumerate(islice(batches, steps)):
        # bfloat16 is faster on some processors; the last third, whose statistics remain, is float32.
        with torch.autocast("cpu", enabled=step < steps * 2 // 3):
            logits = model(normalise(batch, convention))
        loss = F.cross_entropy(logits.float(), images.train_classes[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return model


def count_idle_norms(model: nn.Module) -> None:
    """Let norms that a "skip_norm" block doesn't use see its input, as in the code that such files come from.

    It computes the norm and drops the result: running statistics move, weight and bias have no gradient.
    """

    def observe(block: nn.Module, inputs: tuple[Tensor]) -> None:
        if block.training:
            with torch.no_grad():
                block.bn1(inputs[0])

    for block in model.modules():
        if hasattr(block, "shape") and not block.shape.activated_input:
            block.register_forward_pre_hook(observe)


def pad(images: Tensor, borders: str) -> Tensor:
    """[N, 32, 32, 3] -> [N, 40, 40, 3]."""
    if borders == "reflect":
        return reflect_pad(images, PADDING)
    return F.pad(images, (0, 0, PADDING, PADDING, PADDING, PADDING))


def augmented_batches(padded: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows int64 [B] and images uint8 [B, 32, 32, 3] of one epoch; the last, incomplete batch is dropped."""
    generator = torch.Generator().manual_seed(seed)
    for rows in torch.randperm(len(padded), generator=generator).split(BATCH)[: len(padded) // BATCH]:
        corners = torch.randint(2 * PADDING + 1, (BATCH, 2), generator=generator)
        flipped = torch.rand(BATCH, generator=generator) < 0.5
        yield rows, crop_and_flip(padded, rows, corners, flipped, 32)


def normalise(batch: Tensor, convention: Convention) -> Tensor:
    """Images uint8 [B, 32, 32, 3] -> float32 [B, 3, 32, 32], channels last."""
    planes = standardise(to_planes(batch), *NORMALISATIONS[convention.normalisation])
    return planes.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(model: nn.Module, images: Images, convention: Convention) -> float:
    """Fraction of the test images that the network classifies correctly."""
    model.eval()
    batches = zip(images.test.split(500), images.test_classes.split(500), strict=True)
    right = sum(int((model(normalise(batch, convention)).argmax(1) == classes).sum()) for batch, classes in batches)
    return right / len(images.test)


def xternalz_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict: ``layer2.0.shortcut`` becomes ``block2.layer.0.convShortcut`` and ``bn`` becomes ``bn1``."""

    def rename(key: str) -> str:
        if key.startswith("layer"):
            stage, rest = key.removeprefix("layer").split(".", 1)
            return f"block{stage}.layer.{rest.replace('shortcut', 'convShortcut')}"
        return key.replace("bn.", "bn1.")

    return {rename(key): tensor for key, tensor in tensors.items()}


def measure_all(folder: Path, data: Path, number: int, cases: Sequence[Case], output: Path) -> None:
    """Ask ``identify`` about each network in ``folder``; the answers go to ``output``, tables to stdout.

    Networks whose answers are in ``output`` already are not asked about again.
    """
    images = read_images(data)
    document = {"images": number, "networks": []}
    if output.exists():
        document = json.loads(output.read_text("utf-8"))
    known = {network["name"] for network in document["networks"]}
    for path in sorted(folder.glob("*.json")):
        if path.stem not in known:
            network = {"name": path.stem, **json.loads(path.read_text("utf-8"))}
            network["answers"] = list(answers(path.with_suffix(".pth"), network, images, document["images"], cases))
            document["networks"].append(network)
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(document, indent=1) + "\n")
    print(table_of_networks(document["networks"]), table_of_counts(document["networks"]), sep="\n\n")


def answers(path: Path, network: Document, images: Images, number: int, cases: Sequence[Case]) -> Iterator[Document]:
    """Yield the answers on one network."""
    model = read_file(path, FileFacts())
    for split, labelled in cases:
        pixels = images.train if split == "train" else images.test
        labels = images.test_classes[:number].numpy() if labelled else None
        best, second, *_ = follow(identify(model, pixels[:number].numpy(), labels)).fits
        answer = {"images": split, "labelled": labelled, "best": asdict(best), "next": asdict(second)}
        yield answer | {"right": right(network, best)}


def right(network: Document, best: Fit) -> dict[str, bool]:
    """Say which parts of a convention were found."""
    true = with_variant(get_architecture(network["architecture"]), network["variant"])
    return {
        "normalisation": SAME.get(network["normalisation"], network["normalisation"]) == best.normalise,
        "activation": true.activation == best.variant["activation"],
        "shortcut": true.shortcut == best.variant["shortcut"],
    }


def table_of_networks(networks: list[Document]) -> str:
    """Return a Markdown table with a line for each network: what it is, and the first choices on test images."""
    heads = ("trained", "epochs", "top-1", "without labels", "times", "with labels", "points")
    lines = [f"| {' | '.join(heads)} |", "|---|--:|--:|---|--:|---|--:|"]
    for network in networks:
        cells = [f"`{network['name']}`", str(network["epochs"]), f"{100 * network['top1']:.1f} %"]
        for answer in network["answers"]:
            if answer["images"] == "test":
                cells += [words(answer), margin(answer)]
        cells += [""] * (len(heads) - len(cells))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def words(answer: Document) -> str:
    """Return the first choice, wrong parts in bold."""
    best = {"normalisation": answer["best"]["normalise"], **answer["best"]["variant"]}
    return " ".join(value if answer["right"][part] else f"**{value}**" for part, value in best.items())


def margin(answer: Document) -> str:
    """Return how clearly the first choice comes before the next one."""
    best, rival = answer["best"], answer["next"]
    if answer["labelled"]:
        return f"{100 * (best['accuracy'] - rival['accuracy']):.1f}"
    return f"{rival['mismatch'] / best['mismatch']:.1f}"


def table_of_counts(networks: list[Document]) -> str:
    """Return a Markdown table of how often each part was found."""
    lines = ["| images | labels | normalisation | activation | shortcut | all three |", "|---|---|--:|--:|--:|--:|"]
    for split, labelled in CASES:
        found = [
            answer["right"]
            for network in networks
            for answer in network["answers"]
            if (answer["images"], answer["labelled"]) == (split, labelled)
        ]
        counts = [sum(parts[name] for parts in found) for name in ("normalisation", "activation", "shortcut")]
        counts.append(sum(all(parts.values()) for parts in found))
        cells = [split, "yes" if labelled else "no", *(f"{count} of {len(found)}" for count in counts)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["train", "measure"])
    parser.add_argument("folder", type=Path, help="of the networks")
    parser.add_argument("--data", type=Path, required=True, help="cifar-10-binary.tar.gz or what is in it")
    parser.add_argument("--epochs", type=float, default=3, help="may be a fraction")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--labels", action="store_true", help="measure with labels too: eight times as long")
    parser.add_argument("-o", "--output", type=Path, default=Path("identify.json"), help="of measure")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.part == "train":
        train_all(args.folder, args.data, args.epochs)
    else:
        cases = CASES if args.labels else CASES[:2]
        measure_all(args.folder, args.data, args.images, cases, args.output)


if __name__ == "__main__":
    main()
