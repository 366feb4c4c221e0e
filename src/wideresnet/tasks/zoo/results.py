"""The model zoo's ``result.txt``: what a network answered, a line for each class of each image.

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
from wideresnet.errors import DataError
from wideresnet.pipes import read_file
from wideresnet.report.escape import unescaped

# Paths and names may hold anything, also what stands between them: the last place where all of it fits counts.
_LINE = re.compile(
    r"(?P<path>.+): Relay top-(?P<rank>\d+) id: (?P<index>\d+), prob: (?P<share>[^\s,]+), class name: .*"
)
_EXPECTED = "expected 'PATH: Relay top-0 id: 281, prob: 0.51, class name: tabby, tabby cat'"
_ROUNDING = 1e-6                                   # of a sum of probabilities with 8 digits each
Answer = tuple[int, float]                         # a class index, and what stands there as its probability


@dataclass(frozen=True, eq=False)
class Results:
    """The classes of each image by its path as it stands in ``file``, likeliest first."""

    file: Path
    answers: Mapping[str, tuple[Answer, ...]]
    doubled: int                                   # lines that stood there before, word for word

    @property
    def known(self) -> int:
        """How many classes are known of every image: what of top-5 and the like can be told is up to this."""
        return min(map(len, self.answers.values()))

    @property
    def probable(self) -> bool:
        """Whether what stands there as probabilities can be some: networks without a softmax leave logits there."""
        shares = [[share for _, share in answer] for answer in self.answers.values()]
        return all(min(each) >= 0 and math.fsum(each) <= 1 + _ROUNDING for each in shares)


def read_results(file: Path) -> Results:
    """Read and check a whole file.

    Any number of lines an image, from top-0 or top-1 on; they need not stand together. A line that stands there
    twice counts once, since the zoo's script appends to what an earlier run left: two equal runs are one. Raises
    DataError for an empty file, for a line of another form, and where lines are missing or contradict each other.
    """
    images: dict[str, dict[int, Answer]] = {}
    doubled = 0
    for number, line in _lines(file):
        path, rank, answer = _parsed(line, f"line {number} of {file}")
        known = images.setdefault(path, {})
        if known.setdefault(rank, answer) != answer:
            raise DataError(
                f"line {number} of {file} says of {path} that top-{rank} is {answer[0]} with {answer[1]:g}, an earlier"
                f" line that it is {known[rank][0]} with {known[rank][1]:g}",
                hint="a second run was probably appended to the first: write the file anew",
            )
        doubled += known[rank] is not answer
    if not images:
        raise DataError(f"{file} holds no answers", hint=_EXPECTED)
    first = min(min(ranks) for ranks in images.values())
    answers = {path: _in_order(path, ranks, first, file) for path, ranks in images.items()}
    return Results(file, answers, doubled)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Line numbers and lines, without blank ones. File names may hold bytes that are no UTF-8; shells write UTF-16."""
    try:
        data = read_file(file)
        encoding = encoding_of(data[:3])
        text = data.decode(encoding, "replace" if encoding == "utf-16" else "surrogateescape")
        for number, line in enumerate(io.StringIO(text), start=1):
            if line.strip():
                yield number, line.rstrip("\n")
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error


def _parsed(line: str, where: str) -> tuple[str, int, Answer]:
    found = _LINE.fullmatch(line)
    share = _number(found["share"]) if found else math.nan
    if found is None or not math.isfinite(share):
        shown = line if len(line) <= 200 else f"{line[:200]}…"
        raise DataError(f"{where} is no answer: {shown!r}", hint=_EXPECTED)
    return unescaped(found["path"]), int(found["rank"]), (int(found["index"]), share)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _in_order(path: str, ranks: Mapping[int, Answer], first: int, file: Path) -> tuple[Answer, ...]:
    """Likeliest first. Raises DataError where one is missing or a class has two places."""
    if first > 1 or sorted(ranks) != list(range(first, first + len(ranks))):
        missing = min(set(range(min(first, 1), max(ranks) + 1)) - set(ranks))
        raise DataError(f"{file} has no line top-{missing} of {path}", hint="the file is not whole: write it anew")
    answers = tuple(ranks[rank] for rank in sorted(ranks))
    if len({index for index, _ in answers}) < len(answers):
        raise DataError(f"{file} gives one class two places for {path}", hint="write the file anew")
    return answers
