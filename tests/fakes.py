"""Small stand-ins that tests share: an engine whose answers are known, and networks and data made of numbers."""

from __future__ import annotations

import io
import json
import math
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.architectures import Architecture, wide_resnet, with_variant, wrn, wrn_imagenet
from wideresnet.bundle import Bundle, make_bundle
from wideresnet.bundle.derive import as_float32, with_preprocess
from wideresnet.datasets.cifar import CIFAR10
from wideresnet.datasets.labels import read_labels
from wideresnet.engines import open_engine
from wideresnet.engines.base import check_batch
from wideresnet.engines.features import open_features
from wideresnet.graph.calibrated import with_known_score, with_temperature
from wideresnet.records import (
    Cascade,
    CascadeMember,
    CascadePoint,
    EngineInfo,
    MarginScale,
    ModelCard,
    Preprocess,
    Reliability,
    ScoreQuantiles,
    SetModel,
    Uncertainty,
    UnknownMethod,
    UnknownModel,
)
from wideresnet.tasks.calibrate.unknown import method_constants
from wideresnet.tasks.cascade.cascade import cascade_bundle

T = TypeVar("T")

# Every kind of block, with and without projection, in networks of milliseconds.
TINY = {
    "wrn_10_1": wrn(10, 1),
    "wrn_16_2": wrn(16, 2),
    "basic": replace(
        wrn_imagenet(18, 1.5), stages=(1, 2, 1, 1), stem=8, inner=12, out=12, classes=10, input_size=64
    ),
    "bottleneck": replace(
        wide_resnet(50), stages=(2, 1, 1, 1), stem=16, inner=8, out=16, classes=10, input_size=64
    ),
}
# Two variants of the CIFAR networks with most of the fields.
VARIANTS = {
    "skip_norm": with_variant(
        wrn(10, 1), {"shortcut": "skip_norm", "activation": "leaky_relu", "bn_eps": 1e-3, "conv_bias": True}
    ),
    "postact": with_variant(
        wrn(10, 2),
        {"block": "postact", "activation": "silu", "stride_on": "conv2", "padding": "same", "pool": "avgmax"},
    ),
}
NETWORKS = {**TINY, **VARIANTS}


class FakeEngine:
    """Votes for the class that ``FakeEngine.answer`` computes from an image's mean value.

    The next best classes are the neighbours by index, so that top-5 is known too. ``calls`` holds the number
    of images of each call. At most 256 classes: there are no more greys.
    """

    def __init__(self, classes: int = 10, side: int = 32) -> None:
        self.classes, self.side = classes, side
        self.calls: list[int] = []
        self.info = EngineInfo("fake", "1", "CPU", "f32", 1)

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        check_batch(batch, self.side)
        self.calls.append(len(batch))
        votes = np.array([self.answer(image) for image in batch], np.int64).reshape(-1, 1)
        distance = np.abs(np.arange(self.classes) - votes)
        return (-distance).astype(np.float32)

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        return map(self, batches)

    def answer(self, image: NDArray[np.uint8]) -> int:
        """Class 0 for black, the last for white, evenly between."""
        return int(image.mean() * self.classes / 256)

    def image(self, label: int) -> NDArray[np.uint8]:
        """A grey image for which the answer is ``label``: uint8 [side, side, 3]."""
        grey = math.ceil((label + 0.5) * 256 / self.classes) - 1
        return np.full((self.side, self.side, 3), grey, np.uint8)


def tiny_tensors(architecture: Architecture, seed: int = 0) -> dict[str, NDArray[np.generic]]:
    """Random but sane tensors, the same everywhere: each key seeds its own generator with its CRC-32.

    Activations neither vanish nor explode. Seed 0 gives the weights of the oracle beside the repository.
    """
    word = "wideresnet" if seed == 0 else f"wideresnet-{seed}"
    return {key: _tensor(f"{word}/{key}", shape) for key, shape in architecture.tensors().items()}


def _tensor(name: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        return np.array(0, np.int64)
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 4:
        values = rng.standard_normal(shape) * np.sqrt(2 / math.prod(shape[1:]))
    elif len(shape) == 2:
        values = rng.standard_normal(shape) * np.sqrt(1 / shape[1])
    elif name.endswith("weight"):
        values = rng.uniform(0.3, 0.7, shape)
    else:
        values = rng.standard_normal(shape) * 0.1
    return values.astype(np.float32)


def tiny_images(count: int, side: int) -> NDArray[np.uint8]:
    """Noise, the same everywhere: uint8 [count, side, side, 3], over the whole range."""
    rng = np.random.Generator(np.random.PCG64(side))
    return rng.integers(0, 256, (count, side, side, 3), np.uint8)


def tiny_bundle(architecture: Architecture = TINY["wrn_10_1"]) -> Bundle:
    """A whole model of 78 thousand numbers: wrn_10_1 with CIFAR-10's labels, 32 pixels; it has learnt nothing."""
    card = ModelCard(
        name=f"{architecture.name}.tiny",
        architecture=architecture.name,
        classes=10,
        preprocess=Preprocess(resize=32, crop=32, mode="squash"),
        precision="fp32",
        licence="Apache-2.0",
        labels_name="cifar10",
    )
    return make_bundle(architecture, tiny_tensors(architecture), card, read_labels("cifar10"))


def calibrated_bundle(
    bundle: Bundle, *, method: UnknownMethod = "knn", temperature: float = 0.5, sets: SetModel | None = None,
    margin: MarginScale | None = None,
) -> Bundle:  # fmt: skip
    """``bundle`` with a temperature and a known score, as if 'wrn calibrate' had read 40 images of noise."""
    images = tiny_images(40, bundle.card.preprocess.crop)
    outputs = open_features(bundle, ["features"])(images)
    scores = ScoreQuantiles(3, (1, 2, 3), (0.2, 0.5, 0.8))
    quality = Reliability(10, 1.0, 1.0, 0.1, 0.1)
    uncertainty = Uncertainty(
        "noise", "", "noise", 10, 3, 10, temperature, quality, quality, sets or SetModel("lac", scores), (), (),
        UnknownModel(method, scores, refused=0.3), 0, margin,
    )  # fmt: skip
    constants = method_constants(method, outputs["features"], outputs["logits"] / temperature)
    model = with_known_score(with_temperature(bundle.model, temperature, margin), method, constants)
    return bundle.with_model(model, replace(bundle.card, uncertainty=uncertainty))


def wary_bundle(images: NDArray[np.uint8]) -> Bundle:
    """A calibrated tiny model that calls about a quarter of ``images`` unknown."""
    bundle = calibrated_bundle(tiny_bundle())
    _, scores = next(open_engine(bundle).outputs([images]))
    values = tuple(np.quantile(-scores.ravel(), [0.25, 0.5, 0.75]).tolist())
    model = bundle.card.uncertainty
    assert model is not None
    unknown = replace(model.unknown, scores=ScoreQuantiles(3, (1, 2, 3), values))
    return replace(bundle, card=replace(bundle.card, uncertainty=replace(model, unknown=unknown)))


def tiny_cifar_archive(folder: Path, rows: int = 4) -> Path:
    """``folder``/cifar-10-binary.tar.gz with ``rows`` images a file; read it with ``verify=False``.

    Row k of every file is a grey image of class k % 10, for which ``FakeEngine`` gives the right answer.
    """
    engine = FakeEngine()
    labels = [k % 10 for k in range(rows)]
    blob = b"".join(bytes([k]) + engine.image(k).transpose(2, 0, 1).tobytes() for k in labels)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CIFAR10.archive
    with tarfile.open(path, "w:gz") as archive:
        for name in (*CIFAR10.train, *CIFAR10.test):
            member = tarfile.TarInfo(f"{CIFAR10.folder}/{name}")
            member.size = len(blob)
            archive.addfile(member, io.BytesIO(blob))
    return path


def python2_batch(pixels: NDArray[np.uint8], labels: list[int], key: str = "labels") -> bytes:
    """A batch of CIFAR's python version as cPickle of Python 2 and its NumPy wrote it: protocol 2, strings for bytes.

    ``pixels``: uint8 [N, 3072]. The opcodes are those of the official files, in their order.
    """

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode("latin-1")

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    kind = b"cnumpy\ndtype\n" + text("u1") + b"K\0K\x01\x87R(K\x03" + text("|") + b"NNN" + 2 * number(-1) + b"K\0tb"
    raw = b"T" + pixels.size.to_bytes(4, "little") + pixels.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text("b") + b"\x87R"
        b"(K\x01" + number(len(pixels)) + number(3072) + b"\x86" + kind + b"\x89" + raw + b"tb"
    )
    classes = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x01(" + text("data") + array + b"q\x02" + text(key) + classes + b"u."


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    """A tar archive of ``files``, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_hub(path: Path, columns: dict[str, object], names: Sequence[str] = (), rows_a_group: int = 3) -> Path:
    """A Parquet file as a hub writes it; ``names``: of the classes of its column ``label``, in its schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path, row_group_size=rows_a_group)
    return path


def grey_png(label: int) -> bytes:
    """An encoded image for which ``FakeEngine`` gives ``label`` of ten classes."""
    out = io.BytesIO()
    Image.fromarray(FakeEngine().image(label)).save(out, "PNG")
    return out.getvalue()


CASCADES = "one crop", "two crops", "three members"


def tiny_members(kind: str) -> tuple[Bundle, ...]:
    """The networks of a cascade of one of the kinds ``CASCADES``, which have learnt nothing; the fastest first."""
    first, last = tiny_bundle(TINY["wrn_10_1"]), tiny_bundle(TINY["wrn_16_2"])
    small = as_float32(with_preprocess(first, replace(first.card.preprocess, resize=24, crop=24)))
    return {"one crop": (first, last), "two crops": (small, last), "three members": (small, first, last)}[kind]


def tiny_cascade(*members: Bundle, thresholds: Sequence[float] = (0.5,), shares: tuple[int, int] = (100, 30)) -> Bundle:
    """A cascade of networks that have learnt nothing, by default of two; ``shares``: images, and how many passed on."""
    members = members or (tiny_bundle(TINY["wrn_10_1"]), tiny_bundle(TINY["wrn_16_2"]))
    reached = shares[0], *(shares[1],) * len(thresholds)
    point = CascadePoint("margin", tuple(thresholds), reached, 60, 1, 1, 2e6)
    described = tuple(CascadeMember(m.card.name, m.sha256, m.card.preprocess, 10**6, 1.5) for m in members)
    return cascade_bundle(members, Cascade(described, point, 0.05, "noise", "", 100, True, "openvino", "f32"))
