"""Descriptions of models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from wideresnet.precision import StoredPrecision
from wideresnet.records.accuracy import Measured, Published
from wideresnet.records.cascade import Cascade
from wideresnet.records.compilation import GateReport, QuantiseSettings
from wideresnet.records.images import Labels, Normalisation, Preprocess
from wideresnet.records.uncertainty import Uncertainty


@dataclass(frozen=True)
class ModelCard:
    """The description of a model: all of a bundle besides the graph and the labels."""

    name: str                                      # "wide_resnet50_2.tv_in1k", "wrn_16_4.cifar10"
    architecture: str                              # a name of architectures.ARCHITECTURES
    classes: int
    preprocess: Preprocess
    precision: StoredPrecision                     # of the stored weights
    licence: str
    weights_source: str = ""                       # URL or file the tensors came from
    weights_sha256: str = ""
    labels_name: str = ""                          # "imagenet", "cifar10", or empty for the user's own
    published: tuple[Published, ...] = ()
    measured: tuple[Measured, ...] = ()
    made_with: dict[str, str] = field(default_factory=dict)   # tool -> version
    notes: dict[str, str] = field(default_factory=dict)       # free text: recipe, seed, time
    assumed: tuple[str, ...] = ()                  # "preprocessing: …": what the weights file does not state
    calibration: tuple[str, ...] = ()              # images that set the ranges of an int8 graph
    quantised: QuantiseSettings | None = None      # how an int8 graph was made
    gate: GateReport | None = None
    variant: dict[str, str | float | bool] = field(default_factory=dict)      # see architectures.with_variant
    uncertainty: Uncertainty | None = None         # what 'wrn calibrate' measured
    cascade: Cascade | None = None                 # of one: ``preprocess`` is of its first member, the rest its last
    files: dict[str, str] = field(default_factory=dict)       # file name -> sha256
    schema: Literal[1] = 1                         # a later version's card may mean something else

    @property
    def specs(self) -> tuple[Preprocess, ...]:
        """The crops that an image needs: one, or for a cascade those of its members, that of ``preprocess`` first."""
        return self.cascade.specs if self.cascade else (self.preprocess,)

    def arithmetic(self, requested: Literal["f32", "bf16"]) -> Literal["f32", "bf16"]:
        """Return what to ask an engine for: f32 for a model that is stored in int8, which has no other arithmetic."""
        return "f32" if self.precision == "int8" else requested


@dataclass(frozen=True)
class FileFacts:
    """Facts about a weights file that its user states, where the file may not; the defaults leave them to it."""

    architecture: str | None = None                # that it must have
    normalise: Normalisation | None = None
    which: str | None = None                       # copy of the weights: "ema", "live", the beginning of its names
    variant: dict[str, Any] = field(default_factory=dict, hash=False)      # fields of architectures.Architecture
    headless: bool = False                         # accept a file without a classifier, for its features


@dataclass(frozen=True)
class FileReport:
    """The findings in a weights file."""

    scheme: str                                    # whose naming it is: "xternalz"
    evidence: tuple[str, ...]                      # what shows the variant, a line a conclusion
    used: dict[str, str]                           # our name of a layer -> its name in the file
    ignored: dict[str, str]                        # other names in the file -> why they are not used


@dataclass(frozen=True)
class ModelInfo:
    """The description of a model that was not run. Counts are for one image of ``preprocess.crop``."""

    name: str
    architecture: str
    parameters: int
    macs: int                                      # of convolutions and classifier
    thop_macs: int                                 # as the tool thop counts; see Architecture.thop_macs
    classes: int
    preprocess: Preprocess
    labels: str                                    # name of the label list; empty without one
    licence: str
    where: Literal["here", "to download", "to train"]
    published: tuple[Published, ...] = ()
    measured: tuple[Measured, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()                  # as on the card
    variant: dict[str, str | float | bool] = field(default_factory=dict)      # as on the card
    uncertainty: Uncertainty | None = None         # as on the card
    cascade: Cascade | None = None                 # as on the card; the counts are then means over its images
    file: FileReport | None = None                 # of a weights file
    class_labels: Labels = field(default_factory=lambda: Labels(()))  # none of an architecture, and in a list of models

    @property
    def flops(self) -> int:
        """Two operations a multiply-accumulate."""
        return 2 * self.macs
