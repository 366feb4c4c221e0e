"""One name and one unit for one thing in every command; others are understood, or answered with the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Wrn


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("recommend --accuracy 0.8", "--accuracy 80"),
        ("recommend --accuracy 1", "--accuracy 100"),
        ("compile -o x --min-agreement 0.95", "--min-agreement 95"),
    ],
)
def test_a_fraction_where_a_percentage_belongs_is_refused(wrn: Wrn, command: str, hint: str) -> None:
    done = wrn(*command.split())
    assert (done.code, done.out) == (2, "")
    assert "takes a percentage" in done.err
    assert done.err.endswith(f"hint:  {hint}\n")
    assert not Path("x").exists()
