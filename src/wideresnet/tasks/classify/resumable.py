"""Classification into a file that is resumed after an interruption (see ``output.resumable_writer``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wideresnet.classifier import Classifier
from wideresnet.errors import ConfigError
from wideresnet.output.answers import ANSWER_LAYOUT, any_failed
from wideresnet.output.resumable_writer import check_target, part_of
from wideresnet.output.row_format import RecordLayout
from wideresnet.records import InferenceSettings, RunIdentity
from wideresnet.tasks.classify.sources import STDIN, check_sources


def run_identity(classifier: Classifier, settings: InferenceSettings, k: int, paths: Iterable[Path]) -> RunIdentity:
    """Return everything that decides the answers to the images at ``paths``; more files may be added to a run."""
    info = classifier.engine.info
    return RunIdentity.of_model(classifier.card, {
        "engine": info.runtime, "precision": info.precision, "k": k, "exif": settings.exif,
        "fast decode": settings.reduced, "labels": classifier.labels.digest,
        "folders": [str(path) for path in paths if path.is_dir()],
        **({"coverage": settings.coverage} if settings.coverage else {}),
    })  # fmt: skip


def check_run(
    paths: Sequence[Path], file: Path | None, format: str, *, resume: bool, layout: RecordLayout = ANSWER_LAYOUT
) -> bool | None:
    """Check the images at ``paths`` and the output ``file`` before any work; no ``file`` is standard output.

    If there is nothing left to ``resume``, as ``file`` is complete, return whether an image failed in its run; else
    None. Raises ConfigError for a path or a file that cannot be used, and for a run that cannot be resumed.
    """
    check_sources(paths)
    if resume:
        if file is None:
            raise ConfigError("--resume needs the file that was being written", hint="name it with -o")
        if STDIN in paths:
            raise ConfigError("standard input cannot be resumed", hint="name a file instead of -")
        if file.exists() and not part_of(file).exists():
            return any_failed(file, format, [*layout.columns][:3])
    if file:
        check_target(file, format)
    return None
