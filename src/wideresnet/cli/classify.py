"""``wrn classify``"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zlib import crc32

import typer

from wideresnet.cli.checks import refuse_idle
from wideresnet.cli.cluster import SHARD, Cluster, Cpus, Ray, ShardSize, WorkerCount, check_options, work_through
from wideresnet.cli.options import (
    Alpha,
    ArchitectureName,
    Arithmetic,
    BatchSize,
    Engine,
    EngineName,
    IgnoreExif,
    InferMode,
    InferModeName,
    LabelsFile,
    Lang,
    Language,
    Model,
    Precision,
    Resolution,
    Threads,
    Transform,
    Weights,
)
from wideresnet.cli.output import open_bundle, say_skipped
from wideresnet.cli.streams import check_output, say
from wideresnet.cli.watch import watched
from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from wideresnet.classifier import Classifier
    from wideresnet.output.resumable_writer import ResumableWriter
    from wideresnet.records import Exif, Failure, Item, Prediction, Skipped
    from wideresnet.tasks.classify.pipeline import InferMode as Mode

STDIN = Path("-")


FastDecode = Annotated[
    bool, typer.Option("--fast-decode", help="Decode large JPEGs at a part of their size: sooner, not exact.")
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="With -o: go on where an interrupted run of the same command ended; once FILE is whole,"
        " only exit as that run did."
    ),
]  # fmt: skip
Dedupe = Annotated[
    bool,
    typer.Option(
        "--dedupe", help="Answer files with the same bytes once; the last 100,000 are remembered, fewer above -k 5."
    ),
]


class AnswerFormat(StrEnum):
    """How answers are written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    zoo = "zoo"
    parquet = "parquet"


def classify(
    context: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(help="Images, folders (searched recursively), .parquet, .tar, or - for stdin.")
    ],
    model: Model = None,
    k: Annotated[int, typer.Option("-k", "--top-k", min=1, help="Classes an image.")] = 5,
    format: Annotated[AnswerFormat, typer.Option("--format", help="How to write answers.")] = AnswerFormat.table,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write here, not to stdout.")] = None,
    weights: Weights = None,
    architecture: ArchitectureName = None,
    labels: LabelsFile = None,
    lang: Lang = Language.en,
    resolution: Resolution = 0,
    transform: Transform = None,
    alpha: Alpha = None,
    engine: EngineName = Engine.openvino,
    precision: Precision = Arithmetic.f32,
    threads: Threads = 0,
    batch_size: BatchSize = 0,
    ignore_exif: IgnoreExif = False,
    fast_decode: FastDecode = False,
    infer_mode: InferMode = InferModeName.asynchronous,
    dedupe: Dedupe = False,
    resume: Resume = False,
    ray: Ray = "",
    workers: WorkerCount = 0,
    cpus: Cpus = 0,
    shard_size: ShardSize = SHARD,
) -> None:
    """Name what is in images. Unreadable ones are listed on stderr, and the exit code is 1.

    With -o the answers grow in FILE.part and become FILE when they are whole; a run that was interrupted, even
    killed, keeps what it answered, and --resume goes on.

    With --ray a cluster does the work: images, folders, lists of files (.txt) and Parquet files of bytes, also by
    URI (s3://…); -o is a folder of Parquet files or a URI. The same command goes on with what is not done.

    Example: wrn classify examples/

    Example: wrn classify examples/ --lang zh

    Example: wrn classify photos/ -m wide_resnet50_2.tv_in1k --format csv -o answers.csv --resume

    Example: wrn classify s3://bucket/photos -m wide_resnet50_2.tv_in1k --ray auto -o s3://bucket/answers
    """
    from wideresnet.datasets.labels import translated
    from wideresnet.datasets.shards import find_shards
    from wideresnet.engines import EngineOptions
    from wideresnet.engines.throughput import BATCH, throughput_options
    from wideresnet.tasks.classify.classify import folders_and_shards
    from wideresnet.tasks.load.load import ModelChoice, open_classifier

    files, file = [Path(path) for path in paths], None if output is None else Path(output)
    check_options(context, ray)
    sheet = bool(ray) and format not in (AnswerFormat.table, AnswerFormat.json)
    refuse_idle(context, sheet, "as --ray writes Parquet, a file a shard", "format")
    if not ray:
        _refuse_early(files, file, format, resume)
    bundle = open_bundle(ModelChoice(model, weights, architecture, labels), resolution, transform, alpha)
    squares = bundle.card.preprocess.interpolation == "opencv-bilinear"    # whose crops a reduced image changes
    refuse_idle(context, squares, "on a transform by OpenCV's bilinear resize", "fast_decode")
    bundle = replace(bundle, labels=translated(bundle.labels, lang.value, bundle.card.labels_name))
    options, batch = EngineOptions(precision.value, threads), BATCH
    if ray or len(files) > 1 or files[0].is_dir() or find_shards(files[0]):
        options, batch = throughput_options(bundle, precision.value, threads)
    exif: Exif = "ignore" if ignore_exif else "transpose"
    how = _How(k, batch_size or batch, exif, fast_decode, dedupe, infer_mode.value)
    if ray:
        from wideresnet.cluster.operations import Classify

        work = Classify(engine, precision.value, how.batch_size, k, exif, fast_decode)
        cluster = Cluster(ray, workers, cpus, shard_size, output)
        work_through(work, bundle, paths, cluster, json=format is AnswerFormat.json)
    classifier = open_classifier(bundle, engine, options)
    passed: list[Skipped] = []
    if file:
        failed = _to_file(classifier, how, files, passed, file, format, resume)
    else:
        failed = _to_stdout(classifier, how, _items(files, passed), format)
    say_skipped(passed, *folders_and_shards(files))
    raise typer.Exit(1 if failed else 0)


@dataclass(frozen=True)
class _How:
    """What decides the answers besides the model and the images."""

    k: int
    batch_size: int
    exif: Exif
    reduced: bool
    dedupe: bool
    mode: Mode

    def answers(self, classifier: Classifier, items: Iterable[Item]) -> Iterator[Prediction | Failure]:
        from wideresnet.tasks.classify.classify import classify as answers_to
        from wideresnet.tasks.classify.dedupe import answer_once, remembered_for

        def answer(some: Iterable[Item]) -> Iterator[Prediction | Failure]:
            return answers_to(
                classifier, some, k=self.k, batch_size=self.batch_size, exif=self.exif, reduced=self.reduced,
                mode=self.mode,
            )  # fmt: skip

        return answer_once(answer, items, remembered_for(self.k)) if self.dedupe else answer(items)


def _to_stdout(classifier: Classifier, how: _How, items: Iterable[Item], format: AnswerFormat) -> bool:
    """Write all answers; whether an image failed."""
    from wideresnet.output.answers import write_answers
    from wideresnet.records import Failure

    failed = False

    def watch() -> Iterator[Prediction | Failure]:
        nonlocal failed
        for answer in watched(how.answers(classifier, items), "classifying"):
            failed |= isinstance(answer, Failure)
            yield answer

    write_answers(watch(), format, sys.stdout)
    return failed


def _to_file(
    classifier: Classifier, how: _How, paths: list[Path], passed: list[Skipped], output: Path, format: AnswerFormat,
    resume: bool,
) -> bool:  # fmt: skip
    """Write all answers that are not there yet; whether an image failed, now or before."""
    from wideresnet.output.resumable_writer import open_resumable

    card, info = classifier.card, classifier.engine.info
    run = {
        "model": card.name, "graph": card.files, "weights": card.weights_sha256, "preprocess": asdict(card.preprocess),
        "engine": info.runtime, "precision": info.precision, "k": how.k, "exif": how.exif, "fast decode": how.reduced,
        "labels": f"{crc32(repr(classifier.labels).encode()):08x}", "folders": [str(p) for p in paths if p.is_dir()],
    }  # fmt: skip
    with open_resumable(output, format, run, resume=resume) as writer, _saying_how_to_go_on(writer):
        answers = how.answers(classifier, writer.unanswered(_items(paths, passed)))
        for answer in watched(answers, "classifying", writer.records):
            writer.add(answer)
    return writer.failures > 0


@contextmanager
def _saying_how_to_go_on(writer: ResumableWriter) -> Iterator[None]:
    """One line on stderr when something ends the run early, be it Ctrl-C."""
    try:
        yield
    except OSError:                                # becomes an error that says it
        raise
    except BaseException:
        if writer.records:
            say(f"stopped; what was answered is in {writer.path}: --resume goes on", err=True)
        raise


def _refuse_early(paths: list[Path], output: Path | None, format: AnswerFormat, resume: bool) -> None:
    """What can be said before anything is opened, and before half a document stands on stdout."""
    from wideresnet.datasets.shards import check_inputs

    if STDIN in paths and sys.stdin is None:
        raise ConfigError("cannot read standard input: it is closed", hint="name a file instead of -")
    check_inputs(path for path in paths if path != STDIN)
    if resume:
        _end_if_whole(output, format, paths)
    if output is None:
        check_output()
    else:
        from wideresnet.output.resumable_writer import check_target

        check_target(output)


def _end_if_whole(output: Path | None, format: AnswerFormat, paths: list[Path]) -> None:
    """Where the file is there already and nothing is left to resume: say so, and exit as its run did."""
    from wideresnet.output.finished import any_failed
    from wideresnet.output.resumable_writer import part_of

    if output is None:
        raise ConfigError("--resume needs the file that was being written", hint="name it with -o")
    if STDIN in paths:
        raise ConfigError("what came on stdin cannot be resumed", hint="name a file instead of -")
    if output.exists() and not part_of(output).exists():
        failed = any_failed(output, format)
        say(f"{output} is whole; nothing is left to do, whatever model and images it was made from", err=True)
        raise typer.Exit(1 if failed else 0)


def _items(paths: list[Path], passed: list[Skipped]) -> Iterator[Item]:
    from wideresnet.records import Item
    from wideresnet.tasks.classify.classify import InputImages

    for path in paths:
        if path == STDIN:
            yield Item("-", _read_stdin())
        else:
            images = InputImages([path])
            yield from images
            passed.append(images.skipped)


def _read_stdin() -> bytes:
    from wideresnet.images.decode import DEFAULT_LIMITS
    from wideresnet.pipes import read_open

    try:
        return read_open(sys.stdin.buffer, DEFAULT_LIMITS.bytes + 1)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot read standard input: {reason}", hint="name a file instead of -") from error
