"""Hints that can be typed: every option and command that a message names exists where the message is shown."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from wideresnet.cli.main import app

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "wideresnet"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
COMMAND = re.compile(r"\bwrn ((?:train|data|[a-z]+)(?= |'|$))([^'\n]*)")
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# Modules outside cli whose messages name options -> the commands that show them.
_MODEL = ("classify", "evaluate", "explain", "embed", "export", "compile", "finetune")     # that take --weights
_CLUSTER = ("classify", "evaluate", "embed")
SHOWN_BY: dict[str, tuple[str, ...]] = {
    "cli/answers": ("classify",),
    "cli/classify_options": ("classify",),
    "output/answers": ("classify",),
    "report/compilation": ("compile",),
    "cli/bench_options": ("bench",),
    "cli/cluster": _CLUSTER,
    "cli/compile_job": ("compile",),
    "cli/compile_options": ("compile",),
    "cli/evaluation": ("evaluate",),
    "cli/evaluate_options": ("evaluate",),
    "cli/published": ("evaluate",),
    "cli/training": ("train", "finetune"),
    "tasks/train/seeds": ("train",),
    "tasks/classify/resumable": ("classify",),
    "datasets/decoded_cache": ("train", "finetune"),
    "datasets/train_val_split": ("finetune",),
    "datasets/labels/__init__": ("classify", "evaluate"),
    "graph/foreign": _MODEL,
    "graph/quantise": ("compile",),
    "report/comparison": ("compare",),
    "output/resumable_writer": ("classify", "evaluate"),
    "cluster/connect": (*_CLUSTER, "serve"),
    "cluster/listing": ("evaluate",),
    "cluster/ray_serve": ("serve",),
    "serve/grpc/server": ("serve",),
    "serve/run": ("serve",),
    "serve/shadow": ("serve",),
    "serve/tls": ("serve",),
    "serve/workers": ("serve",),
    "tasks/calibrate/automatic": ("compile", "finetune"),
    "tasks/calibrate/calibrate": ("calibrate",),
    "tasks/calibrate/unknown": ("calibrate",),
    "tasks/bench/candidates": ("bench",),
    "tasks/cascade/cascade": ("cascade",),
    "tasks/bench/fixtures": ("bench",),
    "tasks/bench/options": ("bench",),
    "tasks/bench/recommend": ("bench", "recommend"),
    "tasks/quantize/compile": ("compile",),
    "tasks/load/describe": ("info",),
    "tasks/finetune/finetune": ("finetune",),
    "tasks/quantize/calibration_data": ("compile",),
    "tasks/quantize/accuracy_gate": ("compile",),
    "cli/check_data": ("info", "export"),
    "report/identification": _MODEL,
    "report/models": ("info",),
    "tasks/load/check_statistics": _MODEL,
    "tasks/load/hub_config": ("classify", "evaluate", "explain", "export", "compile"),
    "tasks/load/load": _MODEL,
    "tasks/load/assumed_card": _MODEL,
    "tasks/load/weights_file": _MODEL,
    "weights/recognise": _MODEL,
    "tasks/train/plan": ("train",),
    "datasets/imagenet_index": ("data",),
    "tasks/evaluate/model": ("evaluate",),
    "tasks/evaluate/resumable": ("evaluate",),
    "tasks/quantize/search": ("compile",),
    "tasks/train/train": ("train",),
    "tasks/evaluate/published": ("evaluate",),
    "training/distributed": ("train", "finetune"),
    "tasks/finetune/settings": ("finetune",),
    "tasks/finetune/source": ("finetune",),
}
# Whose "--ink" are colours, and tables of options: of all (test_help.py) and of earlier versions (test_vocabulary.py).
# Commands are put together in report/recommendation; test_recommend.py compares them with the command line.
STYLES = {"report/html/charts", "report/html/page", "cli/help", "cli/checks", "report/recommendation"}
# Commands that a command names as the next ones, with options of theirs.
NEXT = {"cli/calibrate": "classify"}
# Options that belong to another program, named as such.
FOREIGN = {"--data-binary", "--max-restarts", "--head", "--help"}


def options_of(name: str) -> set[str]:
    """Every option of a command, and of its commands where it is a group."""
    command = COMMANDS[name]
    commands = command.commands.values() if hasattr(command, "commands") else [command]
    return {option for each in commands for p in each.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}


def texts(path: Path) -> Iterator[str]:
    """Every text of a module that is no docstring, option or next command (``test_next_steps.py``).

    f-strings have {} for their gaps.
    """
    tree = ast.parse(path.read_text("utf-8"))
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Option", "typer.Argument", "say_next"):
            skipped |= {id(child) for child in ast.walk(node)}
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(child) for child in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)


def named(path: Path) -> set[tuple[str, str]]:
    """(command or "", option): what the texts of a module name; "" where the command is that which was called."""
    found = set()
    for text in texts(path):
        for match in COMMAND.finditer(text):
            found |= {(match[1], option) for option in ["", *OPTION.findall(match[2])]}
        found |= {("", option) for option in OPTION.findall(COMMAND.sub("", text)) if option not in FOREIGN}
    return found


def module_name(path: Path) -> str:
    return str(path.relative_to(SOURCE).with_suffix(""))


MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if named(path) and module_name(path) not in STYLES]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_what_a_message_names_can_be_typed(path: Path) -> None:
    module = module_name(path)
    own = module.removeprefix("cli/")
    commands = (own,) if own in COMMANDS else SHOWN_BY.get(module, ())
    for command, option in sorted(named(path)):
        if command:
            assert command in COMMANDS, f"{module} names 'wrn {command}'"
            assert not option or option in options_of(command), f"{module} names 'wrn {command} {option}'"
            continue
        assert commands, f"{module} names {option}: add the commands that show it to SHOWN_BY"
        for shown_by in commands:
            options = options_of(shown_by) | options_of(NEXT.get(module, shown_by))
            assert option in options, f"{module} names {option}, which 'wrn {shown_by}' lacks"


def test_every_extra_that_a_message_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for path in SOURCE.rglob("*.py"):
        source = path.read_text("utf-8")
        found = [*re.findall(r"needs_extra\([^,]+, \"(\w+)\"\)", source), *re.findall(r"wideresnet\[(\w+)\]", source)]
        assert set(found) <= set(extras), path
