"""``wrn explain``"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.checks import refuse_idle
from wideresnet.cli.options import (
    Alpha,
    ArchitectureName,
    Arithmetic,
    Engine,
    EngineName,
    Format,
    IgnoreExif,
    Images,
    LabelsFile,
    Model,
    Precision,
    Resolution,
    TextOrJson,
    Threads,
    Weights,
)
from wideresnet.cli.output import check_targets, open_bundle, print_json, say_skipped
from wideresnet.cli.streams import print_lines
from wideresnet.cli.watch import watched
from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from wideresnet.records import EngineInfo, Exif, Explanation, Failure
    from wideresnet.report.names import ClassName

SHOWN = 200                                        # images on a page: some 10 MB


Count = Annotated[int, typer.Option("-k", "--top-k", min=1, help="Explain so many of the likeliest classes.")]
Classes = Annotated[
    list[str] | None, typer.Option("--class", help="Explain this class instead: index, id or name; repeatable.")
]
Folder = Annotated[Path | None, typer.Option("--output", "-o", help="A folder for NAME-CLASS.png each.")]
Page = Annotated[Path | None, typer.Option("--report", help="Write a page (HTML) with all images.")]


def explain(
    context: typer.Context,
    paths: Images,
    model: Model = None,
    k: Count = 1,
    classes: Classes = None,
    output: Folder = None,
    report: Page = None,
    signed: Annotated[bool, typer.Option("--signed", help="Show also what speaks against a class, in blue.")] = False,
    weights: Weights = None,
    architecture: ArchitectureName = None,
    labels: LabelsFile = None,
    resolution: Resolution = 0,
    alpha: Alpha = None,
    engine: EngineName = Engine.openvino,
    precision: Precision = Arithmetic.f32,
    threads: Threads = 0,
    ignore_exif: IgnoreExif = False,
    format: Format = TextOrJson.table,
) -> None:
    """Show where in images the network finds its answers: exact class activation maps, over the crop that it saw.

    Unreadable images are listed on stderr, and the exit code is 1.

    Example: wrn explain examples/ -o maps/ --report maps.html

    Example: wrn explain street.jpg -m wide_resnet50_2.tv_in1k --class n02930766 --class 'sports car' -o maps/
    """
    from wideresnet.datasets.shards import check_inputs
    from wideresnet.engines import EngineOptions
    from wideresnet.report.names import class_names
    from wideresnet.tasks.classify.classify import InputImages, folders_and_shards
    from wideresnet.tasks.classify.explain import explanations, find_class, open_explainer
    from wideresnet.tasks.load.load import ModelChoice

    if not (output or report or format is TextOrJson.json):
        raise ConfigError("nowhere to draw", hint="name a folder with -o, or a page with --report")
    refuse_idle(context, bool(classes), "beside --class", "k")
    refuse_idle(context, not (output or report), "without -o or --report", "signed")
    check_targets(report, folders=[output])
    files = [Path(path) for path in paths]
    check_inputs(files)
    bundle = open_bundle(ModelChoice(model, weights, architecture, labels), resolution, alpha=alpha)
    wanted = list(dict.fromkeys(find_class(name, bundle.labels) for name in classes or []))
    explainer = open_explainer(bundle, engine, EngineOptions(precision.value, threads))
    drawing = _Drawing(output, report, class_names(bundle.labels), signed)
    exif: Exif = "ignore" if ignore_exif else "transpose"
    images = InputImages(files)
    failed = _draw(explanations(explainer, images, wanted, k=k, exif=exif), drawing, format)
    drawing.finish(bundle.card.name, explainer.features.engine.info)
    say_skipped([images.skipped], *folders_and_shards(files))
    raise typer.Exit(1 if failed else 0)


def _draw(found: Iterable[Explanation | Failure], drawing: _Drawing, format: TextOrJson) -> bool:
    """Draw everything and say where; whether an image failed."""
    from wideresnet.records import Failure
    from wideresnet.report import answer, explanation

    documents, failed = [], False
    for each in watched(found, "explaining"):
        if isinstance(each, Failure):
            failed, made = True, answer.to_json(each)
        else:
            files = drawing.add(each)
            made = explanation.to_json(each, files)
            if format is TextOrJson.table:
                print_lines(explanation.to_text(each, files))
        if format is TextOrJson.json:
            documents.append(made)
    if format is TextOrJson.json:
        print_json(documents)
    return failed


@dataclass
class _Drawing:
    """Where the images of explanations go: files of a folder, sections of a page."""

    folder: Path | None
    page: Path | None
    name_of: ClassName
    signed: bool
    count: int = 0
    taken: set[str] = field(default_factory=set)
    sections: list[str] = field(default_factory=list)

    def add(self, explanation: Explanation) -> list[Path]:
        """Draw one image; the files written, one a class."""
        from wideresnet.output.atomic import save_bytes
        from wideresnet.report.explanation import file_name, image_section
        from wideresnet.report.html.overlay import draw_evidence, encoded

        drawn = [draw_evidence(explanation, each, signed=self.signed) for each in explanation.maps]
        files = []
        if self.folder:
            for each, image in zip(explanation.maps, drawn, strict=True):
                name = file_name(explanation.path, self.name_of(each.score.index), self.taken)
                files.append(self.folder / name)
                save_bytes(files[-1], encoded(image, "PNG"))
        if self.page and len(self.sections) < SHOWN:
            self.sections.append(image_section(explanation, drawn, self.name_of))
        self.count += 1
        return files

    def finish(self, model: str, engine: EngineInfo) -> None:
        """Write the page, if one was asked for."""
        from wideresnet.output.atomic import save_text
        from wideresnet.report.explanation import to_html

        if self.page:
            save_text(self.page, to_html(model, engine, self.sections, self.count, self.signed))
