"""Answers as they come: counted by a bar, written to a file or stdout, failures on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wideresnet.cli.progress import progress_bars
from wideresnet.cli.streams import print_lines, say

if TYPE_CHECKING:
    from wideresnet.output.resumable_writer import ResumableWriter
    from wideresnet.output.row_format import RecordLayout
    from wideresnet.records import Failure, Item, Prediction

    AnswerFunction = Callable[[Iterable[Item]], Iterator[Prediction | Failure]]

Result = TypeVar("Result")


def watched(
    results: Iterable[Result | Failure], activity: str, done: int = 0, *, shown: bool = True
) -> Iterator[Result | Failure]:
    """Yield ``results`` while a bar, if ``shown``, counts them from ``done`` on; list failures on stderr."""
    from wideresnet.records import Failure
    from wideresnet.report import answer

    with progress_bars("images", shown=shown) as bars:
        task = bars.add_task(activity, total=None, completed=done)
        for result in results:
            bars.advance(task)
            if isinstance(result, Failure):
                print_lines(answer.to_text(result), err=True)
            yield result


def write_stdout(answers: Iterable[Prediction | Failure], format: str, layout: RecordLayout) -> bool:
    """Write all answers to stdout; return whether an image failed."""
    from wideresnet.output.answers import write_answers
    from wideresnet.records import Failure

    failures = 0

    def count() -> Iterator[Prediction | Failure]:
        nonlocal failures
        for answer in watched(answers, "classifying", shown=not sys.stdout.isatty()):    # a bar among answers
            failures += isinstance(answer, Failure)
            yield answer

    write_answers(count(), format, sys.stdout, layout)
    return failures > 0


def write_file(
    classify: AnswerFunction, items: Iterable[Item], file: Path, opened: AbstractContextManager[ResumableWriter]
) -> bool:
    """Write all answers that ``file`` lacks; return whether an image failed, now or in an interrupted run."""
    with opened as writer:
        try:
            for prediction in watched(classify(writer.unanswered(items)), "classifying", writer.records):
                writer.add(prediction)
        except BaseException as error:             # an OSError becomes an error that says it
            if writer.records and not isinstance(error, OSError):
                say(f"stopped; the answers so far are in {writer.path}: --resume continues", err=True)
            raise
    say(f"{file}: {writer.format}, {writer.records:,} images, {writer.failures:,} failed", err=True)
    return writer.failures > 0
