"""A stream of findings with a bar that counts them, and with what failed on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from wideresnet.cli.output import progress_bars
from wideresnet.cli.streams import print_lines

if TYPE_CHECKING:
    from wideresnet.records import Failure

Found = TypeVar("Found")


def watched(found: Iterable[Found | Failure], doing: str, done: int = 0) -> Iterator[Found | Failure]:
    """The same, counted on stderr from ``done`` on; failures are listed there."""
    from wideresnet.records import Failure
    from wideresnet.report import answer

    with progress_bars("images") as bars:
        task = bars.add_task(doing, total=None, completed=done)
        for each in found:
            bars.advance(task)
            if isinstance(each, Failure):
                print_lines(answer.to_text(each), err=True)
            yield each
