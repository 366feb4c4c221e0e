"""Every published set of weights of the family, one row each.

A set is its tensors *and* its preprocessing, so the tag (the part after the dot) is part of the name everywhere. Names
are timm's; ``NAME@SIZE`` is the same file at another input size, because its published accuracy differs and a transform
is never a flag here.

Sources: torchvision's ``Wide_ResNet*_Weights`` (URL, transform, accuracy), timm's configurations and
``results-imagenet.csv`` (URL, hub name, transform, licence, accuracy), the VastModelZOO wide_resnet
page, and the paper (arXiv 1605.07146v4). timm measures torchvision's files within 0.02 points of
torchvision's own figures: decoders differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from wideresnet.architectures import normalise_name
from wideresnet.records import Preprocess, Published

TORCHVISION = "https://download.pytorch.org/models"
TIMM_RELEASE = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"


@dataclass(frozen=True)
class Weights:
    """One published set of weights: its URL, hash, preprocessing, licence and accuracy."""

    name: str                                      # "wide_resnet50_2.tv2_in1k", "…racm_in1k@288"
    architecture: str                              # a name of architectures.ARCHITECTURES
    url: str                                       # the publisher's
    sha256_prefix: str                             # lower-case hex; publishers put it into the file name
    hub: str                                       # hub repository with a model.safetensors of the same set
    preprocess: Preprocess
    labels: str                                    # name of a label list in datasets/labels
    licence: str                                   # SPDX
    published: tuple[Published, ...]               # the publisher's own figure first
    note: str = ""

    @property
    def file_name(self) -> str:
        """The publisher's name of the file; rows that differ only in transform share it."""
        return urlsplit(self.url).path.rpartition("/")[2]


def find_weights(name: str) -> Weights | None:
    """Return the weights called ``name``, for a bare architecture name its default (``DEFAULTS``), or None."""
    key = normalise_name(name.removeprefix("timm/"))
    return CATALOGUE.get(DEFAULTS.get(key, key))


def percent(top1: float, top5: float, source: str) -> Published:
    """Return a printed pair of percentages as fractions, rounded to the five digits that were printed."""
    return Published(round(top1 / 100, 5), round(top5 / 100, 5), source)


def enum(architecture: str, version: str) -> str:
    """Return torchvision's name of a set, as a source."""
    return f"torchvision {architecture}_Weights.IMAGENET1K_{version}"


# The transforms, named as in the published configurations. timm's crop_pct gives floor(crop / crop_pct).
TV = Preprocess(resize=256, crop=224, interpolation="bilinear")
TV2 = Preprocess(resize=232, crop=224, interpolation="bilinear")          # crop_pct 0.965
TV2_176 = Preprocess(resize=201, crop=176, interpolation="bilinear")      # crop_pct 0.875, its training size
RACM = Preprocess(resize=256, crop=224, interpolation="bicubic")          # crop_pct 0.875
RACM_288 = Preprocess(resize=303, crop=288, interpolation="bicubic")      # crop_pct 0.95

TIMM_CSV = "timm results-imagenet.csv"
ZOO = "VastModelZOO wide_resnet table"

TV2_NOTE = "torchvision's newer recipe: trained longer and at 176 px, with less confident answers than tv"


def _imagenet(
    name: str, url: str, preprocess: Preprocess, licence: str, published: tuple[Published, ...], note: str
) -> Weights:
    """Return a set for ImageNet that timm publishes, too: the URL ends in the hash and ".pth"."""
    return Weights(
        name=name, architecture=name.partition(".")[0], labels="imagenet", hub=f"timm/{name}",
        url=url, sha256_prefix=url.removesuffix(".pth").rpartition("-")[2],
        preprocess=preprocess, licence=licence, published=published, note=note,
    )  # fmt: skip


_50_TV = _imagenet(
    "wide_resnet50_2.tv_in1k",
    url=f"{TORCHVISION}/wide_resnet50_2-95faca4d.pth",
    preprocess=TV,
    licence="BSD-3-Clause",
    published=(
        percent(78.468, 94.086, enum("Wide_ResNet50_2", "V1")),
        percent(78.486, 94.084, TIMM_CSV), percent(78.468, 94.086, ZOO),
    ),
    note="stored as float16; the set that PatchCore and its kin were published with",
)
_50_TV2 = _imagenet(
    "wide_resnet50_2.tv2_in1k",
    url=f"{TORCHVISION}/wide_resnet50_2-9ba9bcbe.pth",
    preprocess=TV2,
    licence="BSD-3-Clause",
    published=(percent(81.602, 95.758, enum("Wide_ResNet50_2", "V2")), percent(81.612, 95.766, TIMM_CSV)),
    note=TV2_NOTE,
)
_50_RACM = _imagenet(
    "wide_resnet50_2.racm_in1k",
    url=f"{TIMM_RELEASE}/wide_resnet50_racm-8234f177.pth",
    preprocess=RACM,
    licence="Apache-2.0",
    published=(percent(81.466, 95.544, TIMM_CSV), percent(81.452, 95.530, f"{ZOO}, timm 0.6.5")),
    note="timm's own training; bicubic",
)
_101_TV = _imagenet(
    "wide_resnet101_2.tv_in1k",
    url=f"{TORCHVISION}/wide_resnet101_2-32ee1156.pth",
    preprocess=TV,
    licence="BSD-3-Clause",
    published=(
        percent(78.848, 94.284, enum("Wide_ResNet101_2", "V1")),
        percent(78.862, 94.312, TIMM_CSV), percent(78.854, 94.290, f"{ZOO}, timm"),
    ),
    note="stored as float16",
)
_101_TV2 = _imagenet(
    "wide_resnet101_2.tv2_in1k",
    url=f"{TORCHVISION}/wide_resnet101_2-d733dc28.pth",
    preprocess=TV2,
    licence="BSD-3-Clause",
    published=(percent(82.510, 96.020, enum("Wide_ResNet101_2", "V2")), percent(82.514, 96.012, TIMM_CSV)),
    note=TV2_NOTE,
)


def _at(weights: Weights, preprocess: Preprocess, top1: float, top5: float) -> Weights:
    """Return the same file at another input size, with timm's accuracy (percent) there."""
    return replace(
        weights, name=f"{weights.name}@{preprocess.crop}", preprocess=preprocess,
        published=(percent(top1, top5, f"{TIMM_CSV}, {preprocess.crop} px"),),
        note=f"the file of {weights.name} at {preprocess.crop} px",
    )  # fmt: skip


CATALOGUE: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        _50_TV, _50_TV2, _at(_50_TV2, TV2_176, 80.442, 95.076), _50_RACM, _at(_50_RACM, RACM_288, 82.260, 96.062),
        _101_TV, _101_TV2, _at(_101_TV2, TV2_176, 80.494, 94.978),
    )
}  # fmt: skip

# What a bare architecture name means. tv2 for both: it is torchvision's own DEFAULT, the most accurate
# set at 224 px, and one recipe and one transform over both sizes. (timm's bare names mean racm for 50
# and the old tv for 101, which makes the larger network look worse than the smaller.)
DEFAULTS: dict[str, str] = {name: f"{name}.tv2_in1k" for name in ("wide_resnet50_2", "wide_resnet101_2")}

# What the paper printed for its own trainings (ImageNet, single crop; errors, here as accuracies). Those
# tensors were Lua files and are no row above: these numbers belong to architectures, not to weights.
# WRN-50-2's top-5 error is 6.03 in Table 8; the 5.79 of Table 9 is pre-activation ResNet-200's.
PAPER: dict[str, Published] = {
    "wide_resnet50_2": percent(78.10, 93.97, "paper Table 8"),
    "wrn_imagenet_18_1": percent(69.60, 89.07, "paper Table 7"),
    "wrn_imagenet_18_1_5": percent(72.94, 91.00, "paper Table 7"),
    "wrn_imagenet_18_2": percent(74.42, 91.94, "paper Table 7"),
    "wrn_imagenet_18_3": percent(75.94, 92.67, "paper Table 7"),
    "wrn_imagenet_34_1": percent(73.23, 91.33, "paper Table 7"),
    "wrn_imagenet_34_1_5": percent(75.50, 92.42, "paper Table 7"),
    "wrn_imagenet_34_2": percent(76.61, 93.00, "paper Table 7"),
}
