"""The commands of the README and of the tutorials run in the order in which they stand, with bundled data only."""

from __future__ import annotations

from pathlib import Path

import pytest

from documents import commands, copy_of_repository, run

PAGES = [f"docs/tutorials/{name}.md" for name in ("photographs", "production", "fine-tuning", "research")]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_in_their_order(page: str, tmp_path: Path) -> None:
    folder = copy_of_repository(tmp_path)
    listed = list(commands(page))
    assert listed
    for command in listed:
        done = run(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
