"""Reader of the model zoo's ``result.txt``: one line for each of the likeliest classes of each image.

    val/n01440764/ILSVRC2012_val_00000293.JPEG: Relay top-0 id: 0, prob: 0.99121094, class name: tench, Tinca tinca
    val/n01440764/ILSVRC2012_val_00000293.JPEG: Relay top-1 id: 389, prob: 0.00312042, class name: barracouta, snoek
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wideresnet.datasets.text import encoding_of
from wideresnet.errors import DataError, os_errors_as
from wideresnet.pipes import read_file
from wideresnet.report.escape import unescaped

# Paths and names may contain the separators: the last position where the complete form fits counts.
_LINE = re.compile(
    r"(?P<path>.+): Relay top-(?P<rank>\d+) id: (?P<index>\d+), prob: (?P<probability>[^\s,]+), class name: .*"
)
_LINE_FORMAT = "expected 'PATH: Relay top-0 id: 281, prob: 0.51, class name: tabby, tabby cat'"
_ROUNDING = 1e-6                                   # of a sum of probabilities with 8 digits each
Answer = tuple[int, float]                         # class index and the value of ``prob``


@dataclass(frozen=True, eq=False)
class Results:
    """The classes of each image by its path in ``file``, likeliest first."""

    file: Path
    answers: Mapping[str, tuple[Answer, ...]]
    doubled: int                                   # repeated lines

    @property
    def max_k(self) -> int:
        """The number of classes that every image has: the largest k for which top-k accuracy can be computed."""
        return min(map(len, self.answers.values()))

    @property
    def probable(self) -> bool:
        """True if the values can be probabilities: networks without a softmax write logits."""
        values = [[value for _, value in answer] for answer in self.answers.values()]
        return all(min(row) >= 0 and math.fsum(row) <= 1 + _ROUNDING for row in values)


def read_results(file: Path) -> Results:
    """Read and check a file.

    An image has any number of lines, from top-0 or top-1 on, not necessarily adjacent. Repeated lines count once,
    since the zoo's script appends to the file of an earlier run. Raises DataError for an empty file, for a line in
    another format, and if lines are missing or contradict each other.
    """
    images: dict[str, dict[int, Answer]] = {}
    doubled = 0
    for number, line in _lines(file):
        path, rank, answer = _parsed(line, f"line {number} of {file}")
        ranks = images.setdefault(path, {})
        if ranks.setdefault(rank, answer) != answer:
            raise DataError(
                f"line {number} of {file} says of {path} that top-{rank} is {answer[0]} with {answer[1]:g}, an earlier"
                f" line that it is {ranks[rank][0]} with {ranks[rank][1]:g}",
                hint="a second run was probably appended to the first: write the file again",
            )
        doubled += ranks[rank] is not answer
    if not images:
        raise DataError(f"{file} holds no answers", hint=_LINE_FORMAT)
    first = min(map(min, images.values()))
    answers = {path: _in_order(path, ranks, first, file) for path, ranks in images.items()}
    return Results(file, answers, doubled)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield numbers and texts of the lines that are not blank.

    File names may contain bytes that are not UTF-8; the shell of Windows writes UTF-16.
    """
    with os_errors_as(DataError, f"cannot read {file}"):
        data = read_file(file)
    encoding = encoding_of(data[:3])
    text = data.decode(encoding, "replace" if encoding == "utf-16" else "surrogateescape")
    for number, line in enumerate(io.StringIO(text), start=1):
        if line.strip():
            yield number, line.rstrip("\n")


def _parsed(line: str, where: str) -> tuple[str, int, Answer]:
    match = _LINE.fullmatch(line)
    probability = _number(match["probability"]) if match else math.nan
    if match is None or not math.isfinite(probability):
        shown = line if len(line) <= 200 else f"{line[:200]}…"
        raise DataError(f"{where} is no answer: {shown!r}", hint=_LINE_FORMAT)
    return unescaped(match["path"]), int(match["rank"]), (int(match["index"]), probability)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _in_order(path: str, ranks: Mapping[int, Answer], first: int, file: Path) -> tuple[Answer, ...]:
    """Return the answers, likeliest first. Raises DataError if one is missing or a class has two ranks."""
    if first > 1 or sorted(ranks) != list(range(first, first + len(ranks))):
        missing = min(set(range(min(first, 1), max(ranks) + 1)) - set(ranks))
        raise DataError(f"{file} has no line top-{missing} of {path}", hint="the file is incomplete: write it again")
    answers = tuple(ranks[rank] for rank in sorted(ranks))
    if len({index for index, _ in answers}) < len(answers):
        raise DataError(f"{file} gives one class two ranks for {path}", hint="write the file again")
    return answers
