"""Write docs/cli.md from what ``wrn --help`` and ``wrn COMMAND --help`` say.

``python tools/make_cli_docs.py`` writes; a test compares. The text is typer's plain rendering at 100 columns,
so that the page doesn't depend on the terminal it is made in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from wideresnet.cli.main import app

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
WIDTH = 100

HEAD = """# The command line

Written by `make docs` from the commands' own `--help`. `python -m wideresnet` is the same as `wrn`.
"""


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """The whole page."""
    sections = (f"## {name}\n\n```text\n{text}\n```\n" for name, text in helps())
    return "\n".join([HEAD, *sections])


def helps() -> Iterator[tuple[str, str]]:
    """(``wrn``, its help), then the same of every command in the order that ``wrn --help`` lists them."""
    group: Any = typer.main.get_group(app)
    context = group.context_class(group, info_name="wrn", max_content_width=WIDTH, terminal_width=WIDTH)
    return _of_command("wrn", group, context)


def _of_command(name: str, command: Any, context: Any) -> Iterator[tuple[str, str]]:
    """The command and, where it is a group, those inside."""
    yield name, plain_help(command, context)
    for inner in command.list_commands(context) if hasattr(command, "list_commands") else ():
        found = command.get_command(context, inner)
        below = found.context_class(
            found, info_name=inner, parent=context, max_content_width=WIDTH, terminal_width=WIDTH
        )
        yield from _of_command(f"{name} {inner}", found, below)


def plain_help(command: Any, context: Any) -> str:
    """A command's help without rich's boxes. The object is ours alone: typer makes new ones each time."""
    command.rich_markup_mode = None
    lines = command.get_help(context).strip().splitlines()
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    main()
