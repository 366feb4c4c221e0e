"""Groups of options of ``wrn classify``: its answers, and the reading of its images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.groups import ModelOptions, RuntimeOptions
from wideresnet.cli.options import BatchSize, ClassNames, Coverage, Dedupe, FastDecode, IgnoreExif, InferMode, Lang

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wideresnet.bundle import Bundle
    from wideresnet.output.row_format import RecordLayout
    from wideresnet.records import Exif, InferenceSettings, ModelCard, Preprocess

AnswerFormat = Literal["table", "json", "jsonl", "csv", "zoo", "parquet"]


@dataclass(frozen=True)
class AnswerOptions:
    """The answers: their classes, format and file."""

    k: Annotated[int, typer.Option("-k", "--top-k", min=1, help="Classes per image.")] = 5
    format: Annotated[
        AnswerFormat | None, typer.Option("--format", help="The format [by the ending of -o, else table].")
    ] = None
    row_of: Annotated[
        Literal["class", "image"],
        typer.Option("--rows", help="CSV, Parquet: one row per class, or per image (path, label1, probability1, …)."),
    ] = "class"
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write to this file instead of stdout.")] = None
    labels: ClassNames = None
    lang: Lang = "en"
    coverage: Coverage = None

    @property
    def file(self) -> Path | None:
        """The output as a local file."""
        return None if self.output is None else Path(self.output)

    def layout(self, card: ModelCard | None = None, coverage: float = 0) -> RecordLayout:
        """Return the layout of a model's answers; without ``card`` that of answers of one class."""
        from wideresnet.output.answers import answer_layout, in_language, with_uncertainty

        layout = in_language(answer_layout(min(self.k, card.classes) if card else 1, self.row_of), self.lang)
        return with_uncertainty(layout, card, coverage) if card else layout

    def checked_format(self, context: typer.Context, ray: bool) -> str:
        """Return the format of the answers. Raises ConfigError for options that contradict each other."""
        from wideresnet.output.answers import choose_format

        format = self.format or "table" if ray else choose_format(self.file, self.format)
        lines = not ray and format not in ("csv", "parquet")
        check_unused(context, lines, "without CSV or Parquet", "row_of", hint="add --format csv")
        check_unused(context, format == "zoo", "with --format zoo", "coverage", hint="choose another format")
        return format

    def open(self, options: ModelOptions, model: str | None, transform: str | None) -> Bundle:
        """Load the model called ``model`` with class names in the language ``lang``."""
        from wideresnet.datasets.labels import translated

        bundle = options.open(model, self.labels, transform)
        return replace(bundle, labels=translated(bundle.labels, self.lang, bundle.card.labels_name))


@dataclass(frozen=True)
class ReadOptions:
    """The way in which images are read and divided into batches."""

    batch_size: BatchSize = 0
    ignore_exif: IgnoreExif = False
    fast_decode: FastDecode = False
    infer_mode: InferMode = "async"
    dedupe: Dedupe = False

    def check(self, context: typer.Context, specs: Iterable[Preprocess]) -> None:
        """Raise ConfigError for --fast-decode with a preprocessing whose crops it would change."""
        squares = any(spec.interpolation == "opencv-bilinear" for spec in specs)
        check_unused(context, squares, "on a transform by OpenCV's bilinear resize", "fast_decode")

    def settings(self, runtime: RuntimeOptions, coverage: float | None) -> InferenceSettings:
        """Return the settings of inference with the engine of ``runtime``."""
        exif: Exif = "ignore" if self.ignore_exif else "transpose"
        return replace(runtime.settings(self.batch_size, exif, self.infer_mode, coverage), reduced=self.fast_decode)
