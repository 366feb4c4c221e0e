"""``wrn explain``"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.answers import watched
from wideresnet.cli.checks import check_unused, notes_on_top_k
from wideresnet.cli.groups import ModelOptions, RuntimeOptions, with_groups
from wideresnet.cli.options import ClassNames, Format, IgnoreExif, Images, Model
from wideresnet.cli.output import check_targets, list_notes, print_json, say_model, say_skipped
from wideresnet.cli.streams import print_lines
from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from wideresnet.records import Explanation, Failure
    from wideresnet.tasks.classify.drawing import Drawing

Folder = Annotated[Path | None, typer.Option("--output", "-o", help="Write an image per class to this folder.")]


@with_groups
def explain(
    context: typer.Context,
    paths: Images,
    options: ModelOptions,
    runtime: RuntimeOptions,
    model: Model = None,
    k: Annotated[int, typer.Option("-k", "--top-k", min=1, help="Explain the k most likely classes.")] = 1,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Explain this class instead (index, #index, id or name); repeatable."),
    ] = None,
    output: Folder = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write a page (HTML) with all images.")] = None,
    signed: Annotated[bool, typer.Option("--signed", help="Show evidence against a class too, in blue.")] = False,
    labels: ClassNames = None,
    ignore_exif: IgnoreExif = False,
    format: Format = "table",
) -> None:
    """Show the evidence for a class in images: exact class activation maps, over the crop that the network gets.

    Unreadable images are listed on stderr, and the exit code is 1.

    Example: wrn explain examples/ -o maps/ --report maps.html

    Example: wrn explain street.jpg -m wide_resnet50_2.tv_in1k --class n02930766 --class 'sports car' -o maps/
    """
    from wideresnet.datasets.shards import check_inputs
    from wideresnet.engines import EngineOptions
    from wideresnet.report.names import class_names
    from wideresnet.tasks.classify.drawing import Drawing
    from wideresnet.tasks.classify.explain import explanations, find_class, open_explainer
    from wideresnet.tasks.classify.sources import InputImages, containers

    if not (output or report or format == "json"):
        raise ConfigError("nowhere to draw", hint="name a folder with -o, or a page with --report")
    check_unused(context, bool(classes), "beside --class", "k")
    check_unused(context, not (output or report), "without -o or --report", "signed")
    check_targets(report, folders=[output])
    files = [Path(path) for path in paths]
    check_inputs(files)
    around = [path for path in files if output and path.resolve() in (output.resolve(), *output.resolve().parents)]
    if around:
        problem = f"the maps in {output} would be among the images of {around[0]} the next time"
        raise ConfigError(problem, hint=f"name a folder that is not in {around[0]}")
    bundle = options.open(model, labels)
    indices = list(dict.fromkeys(find_class(name, bundle.labels) for name in classes or []))
    explainer = open_explainer(bundle, runtime.engine, EngineOptions(runtime.precision, runtime.threads))
    say_model(bundle.card, explainer.features.engine.info)
    list_notes(notes_on_top_k(context, bundle.card))
    drawing = Drawing(output, report, class_names(bundle.labels), signed)
    settings = runtime.settings(8, "ignore" if ignore_exif else "transpose")
    images = InputImages(files)
    failed = _draw(explanations(explainer, images, settings, classes=indices, k=k), drawing, format)
    drawing.finish(bundle.facts, explainer.features.engine.info)
    say_skipped(images.skipped, *containers(files))
    raise typer.Exit(1 if failed else 0)


def _draw(results: Iterable[Explanation | Failure], drawing: Drawing, format: str) -> bool:
    """Draw all explanations and print their files; return whether an image failed."""
    from wideresnet.records import Failure
    from wideresnet.report import answer, explanation

    documents, failed = [], False
    for result in watched(results, "explaining"):
        if isinstance(result, Failure):
            failed = True
            documents.append(answer.to_json(result))
            continue
        files = drawing.add(result)
        if format == "json":
            documents.append(explanation.to_json(result, files))
        else:
            print_lines(explanation.to_text(result, files))
    if format == "json":
        print_json(documents)
    return failed
