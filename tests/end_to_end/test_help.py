"""The help of every command, as a terminal of 80 columns shows it."""

from __future__ import annotations

import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from wideresnet.cli.help import OPTION_GROUPS
from wideresnet.cli.main import app
from wideresnet.precision import precision_name

ROOT = Path(__file__).parents[2]
HELPS: dict[str, str] = dict(runpy.run_path(str(ROOT / "tools" / "make_cli_docs.py"))["helps"]())


def command(name: str) -> Any:
    """The command with the name of ``HELPS``."""
    found: Any = typer.main.get_command(app)
    for part in name.split()[1:]:
        found = found.commands[part]
    return found


def words(text: str) -> str:
    return " ".join(text.split())


def options(name: str) -> list[Any]:
    return [parameter for parameter in command(name).params if parameter.param_type_name == "option"]


@pytest.mark.parametrize("name", HELPS)
def test_every_word_of_the_help_is_shown(name: str) -> None:
    shown = words(HELPS[name].replace("\\\n", ""))
    for paragraph in inspect.cleandoc(command(name).help).split("\n\n"):
        assert words(paragraph.removeprefix("Example: ")) in shown
    for parameter in command(name).params:
        assert words(parameter.help) in shown
    for child in getattr(command(name), "commands", {}).values():
        assert words(inspect.cleandoc(child.help).split("\n\n")[0]) in shown


@pytest.mark.parametrize("name", HELPS)
def test_every_choice_is_shown_whole_and_no_type(name: str) -> None:
    for option in options(name):
        for choice in option.type_descriptor.choices or ():
            assert f"|{precision_name(choice)}|" in HELPS[name].replace(" ", "|").replace("\n", "|")
    assert not any(noise in HELPS[name] for noise in ("<", "range", "list[", "VALUE\n"))


@pytest.mark.parametrize("name", HELPS)
def test_defaults_are_shown(name: str) -> None:
    for option in options(name):
        default = option.show_default if isinstance(option.show_default, str) else option.default
        if default not in (None, "", [], True, False):
            default = default[0] if isinstance(default, list) else default
            text = f"{default:g}" if isinstance(default, float) else precision_name(default)
            assert f"[default: {text}]" in words(HELPS[name]), option.opts


@pytest.mark.parametrize("name", HELPS)
def test_no_line_is_longer_than_80_columns(name: str) -> None:
    assert max(map(len, HELPS[name].splitlines())) <= 80


def test_every_option_has_a_group_and_every_entry_of_a_group_is_an_option() -> None:
    shown = [option for name in HELPS for option in options(name)]
    first_long = {next(text for text in option.opts if text.startswith("--")) for option in shown}
    assert first_long | {"--help"} == set(OPTION_GROUPS)


def test_an_example_that_is_longer_than_a_line_can_be_copied() -> None:
    assert "  wrn compile -m wide_resnet50_2.tv_in1k --calibration train/ --data val/ \\\n      -o wrn50-int8/\n" in (
        HELPS["wrn compile"]
    )


def test_a_terminal_shows_the_text_of_the_reference() -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    arguments = [sys.executable, "-m", "wideresnet", "finetune", "-h"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.replace("python -m wideresnet", "wrn").rstrip() == HELPS["wrn finetune"].rstrip()


def test_names_with_hyphens_are_not_broken() -> None:
    """They could not be copied."""
    for shown in HELPS.values():
        assert not re.search(r"[a-z0-9]-\n", shown)
