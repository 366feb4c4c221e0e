"""Build files: a compilation described in YAML. The model zoo's own files for these networks are accepted as they are.

    name: wide_resnet50_2
    frontend: {type: onnx, checkpoint: weights/wide_resnet50_2.pth, shape: {input: [1, 3, 224, 224]}, dtype: fp32}
    graph: {extra_ops: {type: softmax}}
    backend: {type: tvm_vacc, dtype: int8, quantize: {calibrate_mode: percentile, quantize_per_channel: true}}
    dataset:
      path: imagenet/calibration
      sampler: {suffix: JPEG, get_data_num: 300}
      process_ops: [{type: DecodeImage}, {type: Resize, size: 256}, {type: CenterCrop, crop_size: 224},
                    {type: Normalize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}, {type: ToTensor}]
    workspace: {path: ./deploy_weights/}

Keys without a meaning on a CPU are accepted and reported as ignored, so that files need no editing. Unknown keys are
errors with a suggestion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from wideresnet.config import read_yaml, validated
from wideresnet.errors import ConfigError
from wideresnet.precision import StoredPrecision, stored_name
from wideresnet.records import RGB, Estimator, Interpolation, Preprocess
from wideresnet.records.images import ResizeMode

Pixels = int | list[int]                           # a side, or [height, width]


class Section(BaseModel):
    """A part of a build file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Frontend(Section):
    """The weights: an ONNX, ``.pth`` or safetensors file of these networks, a bundle, or a name of 'wrn models'."""

    checkpoint: str
    type: str = "onnx"
    shape: dict[str, list[int]] = {}
    dtype: Annotated[Literal["fp32"], BeforeValidator(stored_name)] = "fp32"


class ExtraOps(Section):
    """``softmax`` is understood: probabilities are made from logits after the graph."""

    type: Literal["softmax"] | None = None


class Graph(Section):
    """Additions to the graph."""

    extra_ops: ExtraOps = ExtraOps()


class Quantize(Section):
    """The estimator of activation ranges; ``kl_divergence`` is not supported and is ignored.

    Quantisation is always per channel, so that only ``quantize_per_channel: true`` is accepted.
    """

    calibrate_mode: Literal["percentile", "kl_divergence", "max", "mse"] | None = None
    quantize_per_channel: Literal[True] = True
    skip_matmul_layers: list[int] | None = None
    calibrate_chunk_by: int | None = None
    calibrate_range: float | None = None
    weight_scale: str | None = None
    overflow_adaptive: bool | int | None = None


class Backend(Section):
    """``dtype`` is the precision to compile to; the rest is about other hardware."""

    dtype: Annotated[StoredPrecision, BeforeValidator(stored_name)]
    type: str = "onnx"
    compile: dict[str, Any] | None = None
    quantize: Quantize = Quantize()


class Sampler(Section):
    """The number of calibration images. ``suffix`` is ignored: every image format is read."""

    get_data_num: int = Field(default=300, ge=2)
    suffix: str | None = None


class ProcessOp(Section):
    """One step of a transform."""

    type: Literal["DecodeImage", "Resize", "CenterCrop", "CvtColor", "Normalize", "ToTensor"]
    size: Pixels | None = None
    crop_size: Pixels | None = None
    interpolation: Interpolation = "bilinear"
    mean: RGB | None = None
    std: RGB | None = None
    code: Annotated[str, Field(pattern="(?i)^(cv2[.])?(color_)?bgr2rgb$")] | None = None    # networks here take RGB

    @model_validator(mode="after")
    def _has_its_keys(self) -> ProcessOp:
        needed = {"Resize": {"size"}, "CenterCrop": {"crop_size"}, "Normalize": {"mean", "std"}}.get(self.type, set())
        taken = needed | {"Resize": {"interpolation"}, "CvtColor": {"code"}}.get(self.type, set())
        stated = self.model_dump(exclude_unset=True, exclude_none=True).keys() - {"type"}
        for verb, keys in (("needs", needed - stated), ("has no", stated - taken)):
            if keys:
                raise ValueError(f"{self.type} {verb} {' and '.join(sorted(keys))}")
        return self


class Dataset(Section):
    """The calibration images and the preprocessing."""

    path: Path
    type: str = "folder"
    sampler: Sampler = Sampler()
    process_ops: list[ProcessOp] = []


class Workspace(Section):
    """The folder of the bundle: ``path``/``name``-``dtype``."""

    path: Path | None = None
    work_dir: Path | None = None
    save_log: bool | None = None
    workers: int | None = None


class BuildFile(Section):
    """A complete build file."""

    name: str
    frontend: Frontend
    backend: Backend
    graph: Graph = Graph()
    dataset: Dataset | None = None
    workspace: Workspace = Workspace()

    def preprocess(self, model: Preprocess | None = None) -> Preprocess | None:
        """Return the preprocessing in ``process_ops``, or None if there is none. Raises ConfigError.

        What it does not state is as for ``model``: without Normalize, mean and standard deviation.
        """
        steps = self.dataset.process_ops if self.dataset else []
        ops = {op.type: op for op in steps}
        if not ops:
            return None
        resize, crop, normalise = (ops.get(name) for name in ("Resize", "CenterCrop", "Normalize"))
        order = [op.type for op in steps if op.type in ("Resize", "CenterCrop", "Normalize")]
        if order != [name for name in ("Resize", "CenterCrop", "Normalize") if name in ops]:
            hint = "images are resized, then cut, then normalised, each once: write the steps in this order"
            raise ConfigError(f"process_ops cannot be computed in this order: {', '.join(order)}", hint)
        if resize is None or resize.size is None:
            raise ConfigError("process_ops has no Resize", hint="for instance {type: Resize, size: 256}")
        side = square(resize.size)
        crop_side = square(crop.crop_size) if crop and crop.crop_size else side
        # Two numbers are both sides (the aspect ratio is lost), one is the shorter: torchvision's rule.
        mode: ResizeMode = "squash" if isinstance(resize.size, list) and len(resize.size) == 2 else "shortest"
        spec = model or Preprocess(side, crop_side)
        mean, std = (normalise and normalise.mean) or spec.mean, (normalise and normalise.std) or spec.std
        return Preprocess(side, crop_side, resize.interpolation, mode, mean, std, spec.alpha)

    def check_shape(self, side: int) -> None:
        """Raise ConfigError if the file states another input than images of ``side`` pixels a side."""
        for name, shape in self.frontend.shape.items():
            if shape[-2:] != [side, side]:
                problem = f"frontend.shape says {name} is {shape}, the model takes images of {side} pixels a side"
                raise ConfigError(problem, hint=f"write [1, 3, {side}, {side}], or other sizes into process_ops")

    def estimator(self) -> Estimator | None:
        """Return the estimator of activation ranges, or None if the file has none that is supported."""
        mode = self.backend.quantize.calibrate_mode
        return None if mode == "kl_divergence" else mode

    def target(self) -> Path:
        """Return the folder of the bundle."""
        root = self.workspace.path or self.workspace.work_dir or Path()
        return root / f"{self.name}-{self.backend.dtype}"

    def ignored(self) -> list[str]:
        """Return the keys in the file that are ignored."""
        quantize = self.backend.quantize.model_dump(exclude_none=True, exclude_defaults=True)
        if self.estimator() and self.backend.dtype == "int8":
            quantize.pop("calibrate_mode")
        keys = [f"backend.quantize.{key}" for key in quantize]
        keys += [f"backend.compile.{key}" for key in self.backend.compile or {}]
        keys += [f"workspace.{key}" for key in ("save_log", "workers") if key in self.workspace.model_fields_set]
        if self.dataset and self.dataset.sampler.suffix:
            keys.append("dataset.sampler.suffix")
        if self.dataset and self.backend.dtype != "int8":
            keys += ["dataset.path", "dataset.sampler.get_data_num"]
        return keys


def read_build_file(path: Path) -> BuildFile:
    """Read and check a build file. Raises ConfigError with the key for unknown, missing and invalid values."""
    keys = (key for section in Section.__subclasses__() for key in section.model_fields)
    return validated(BuildFile, read_yaml(path), path, keys)


def square(size: Pixels) -> int:
    """Return the side of [side, side], [side] or side. Raises ConfigError for a rectangle."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ConfigError(f"only squares are understood, got {size}")
    return sides.pop()
