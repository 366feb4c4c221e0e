"""The house rules: what is light stays light, and what the documents say is what the code says."""

from __future__ import annotations

import ast
import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import wideresnet

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "benchmarks/*.md", "src/**/*.md")
    for page in ROOT.glob(pattern)
)
CEILING = runpy.run_path(str(ROOT / "tools" / "check_size.py"))["MAX_TOTAL"]
HEAVY = {"torch", "openvino", "onnx", "onnxruntime", "ray", "pyarrow"}


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def modules_after(code: str) -> set[str]:
    """Top-level names of what a fresh Python has imported after running ``code``."""
    tail = "\nimport json, sys\nprint('\\n' + json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def tool(name: str) -> dict[str, Any]:
    """What a script of ``tools/`` defines."""
    return runpy.run_path(str(ROOT / "tools" / name))


# Light imports


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not modules_after("import wideresnet") & (HEAVY | {"PIL", "pydantic", "rich", "typer"})


def test_the_help_imports_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["wrn", "--help"]
from wideresnet.cli.main import run
try:
    run()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    assert not modules_after(code) & HEAVY


def test_classifying_with_a_model_that_is_here_brings_no_downloads_and_no_onnx() -> None:
    code = """
import sys
sys.argv = ["wrn", "classify", "examples/cat.png"]
from wideresnet.cli.main import run
try:
    run()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    assert not modules_after(code) & {"filelock", "onnx", "torch"}


# Documents and code say the same


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == wideresnet.__version__


def test_the_page_of_the_command_line_is_what_help_says() -> None:
    assert tool("make_cli_docs.py")["page"]() == read("docs/cli.md"), "run 'make docs'"


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "docs/models.md"])
def test_the_tables_of_models_are_what_the_code_says(name: str) -> None:
    assert tool("make_model_tables.py")["pages"]()[name] == read(name), "run 'make docs'"


def test_ci_runs_the_test_command_of_the_readmes() -> None:
    command = read(".ci/run").strip().splitlines()[-1]
    assert f"\n{command}\n" in read("README.md")
    assert f"\n{command}\n" in read("README.zh-CN.md")


def test_the_schema_of_build_files_is_what_the_code_reads() -> None:
    assert tool("make_schema.py")["page"]() == read("docs/buildfile.schema.json"), "run 'make docs'"


def test_the_tree_of_the_architecture_page_is_the_tree() -> None:
    assert tool("make_tree.py")["page"]() == read("ARCHITECTURE.md"), "run 'make docs'"


def test_the_architecture_page_shows_the_layers_that_are_checked() -> None:
    contract = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]
    shown = read("ARCHITECTURE.md").partition("<!-- layers -->")[2].split("```")[1]
    # Layers in brackets are folders to come.
    assert shown.strip().splitlines() == [each for each in contract["layers"] if "(" not in each]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    local = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    assert [link for link in local if not (page.parent / unquote(link)).exists()] == []


@pytest.mark.parametrize("folder", ["benchmarks", "tools", "examples"])
def test_scripts_import_names_that_the_package_has(folder: str) -> None:
    """They are not in the checks of types, and most of them are run rarely."""
    missing = []
    for script in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(script.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "wideresnet":
                names = [alias.name for alias in node.names]
                code = f"from {node.module} import {', '.join(names)}"
                try:
                    exec(code, {})
                except ImportError as error:
                    missing.append(f"{script.relative_to(ROOT)}:{node.lineno}: {error}")
    assert missing == []


@pytest.mark.parametrize("folder", ["benchmarks", "tools", "examples"])
def test_scripts_read_arguments_that_they_have(folder: str) -> None:
    missing = []
    for script in sorted((ROOT / folder).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(script.read_text("utf-8"))))
        calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
        declared = set[str]()
        for call in calls:
            if call.func.attr in ("add_argument", "add_subparsers"):
                names = [name.value for name in call.args if isinstance(name, ast.Constant)]
                longest = [name for name in names if name.startswith("--")] or names
                declared |= {name.lstrip("-").replace("-", "_") for name in longest[:1]}
                declared |= {word.value.value for word in call.keywords if word.arg == "dest"}
        for function in (node for node in nodes if isinstance(node, ast.FunctionDef)):
            parsed = {
                node.targets[0].id
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
                and isinstance(node.value.func, ast.Attribute) and node.value.func.attr == "parse_args"
            }  # fmt: skip
            missing += [
                f"{script.relative_to(ROOT)}:{node.lineno}: {node.attr}"
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in parsed
                and node.attr not in declared
            ]  # fmt: skip
    assert missing == []


def test_every_example_photograph_is_credited() -> None:
    rows = re.findall(r"^\| `(.+?)` \|(.*)\|$", read("examples/CREDITS.md"), re.MULTILINE)
    images = {path.name for path in (ROOT / "examples").glob("*.*") if path.suffix not in (".md", ".py")}
    assert {name for name, _ in rows} == images
    for _, rest in rows:
        assert "https://creativecommons.org/" in rest, rest
        assert re.search(r"<https://\S+>", rest), rest


# The size ceilings


def check_size(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "check_size.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_folder_within_the_ceilings_gets_one_line_of_totals(tmp_path: Path) -> None:
    method = "    def f(self, a, b, c, d, e, f, g, **_ignored):\n        return 1\n"
    (tmp_path / "a.py").write_text("class A:\n" + method)
    (tmp_path / "b.py").write_text("def long():\n" + "    x = 1\n" * 49)
    done = check_size(tmp_path)
    assert done.stdout == f"53 of {CEILING} lines of code in 2 files, median function 26 lines, longest 50\n"
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("source", "breach"),
    [
        ("x = 1\n" * 401, "a.py:401: 401 lines, at most 400 a file"),
        ("\ndef f():\n" + "    x = 1\n" * 50, "a.py:2: f is 51 lines long, at most 50"),
        ("async def f(a, /, b, c, d, *e, g, h, i): ...\n", "a.py:1: f takes 8 parameters, at most 7"),
        ("class A:\n    def f(self, **more): ...\n", "a.py:2: f takes **more: name the parameters"),
    ],
)
def test_each_ceiling_is_reported_where_it_is_broken(tmp_path: Path, source: str, breach: str) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.py").write_text(source)
    done = check_size(tmp_path)
    assert done.stdout == f"{tmp_path}/inner/{breach}\n"
    assert done.returncode == 1


def test_options_and_help_of_a_command_are_free_but_its_body_is_not(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    signature = "def f(\n" + "".join(f"    a{n}: int,\n" for n in range(30)) + "):\n"
    source = signature + '    """Help."""\n'
    (tmp_path / "cli" / "a.py").write_text(source + "    x = 1\n" * 50)
    assert check_size(tmp_path).returncode == 0
    (tmp_path / "cli" / "a.py").write_text(source + "    x = 1\n" * 51)
    assert "a.py:1: f is 51 lines long, at most 50" in check_size(tmp_path).stdout


def test_the_ceiling_on_all_lines_together(tmp_path: Path) -> None:
    count = CEILING // 375 + 1
    for index in range(count):
        (tmp_path / f"{index:02}.py").write_text("x = 1\n" * 375)
    done = check_size(tmp_path)
    assert done.stdout == f"{tmp_path}: {count * 375} lines of code in all, at most {CEILING}\n"
    assert done.returncode == 1


def test_comments_docstrings_and_blanks_are_free_in_the_total(tmp_path: Path) -> None:
    source = '"""A\n\nlong one."""\n\n# why\nx = """1\n2"""  # beside\n\n\ndef f():\n    """F."""\n    return x\n'
    (tmp_path / "a.py").write_text(source)
    assert check_size(tmp_path).stdout.startswith(f"4 of {CEILING} lines of code in 1 files")


def test_an_empty_folder_is_no_success(tmp_path: Path) -> None:
    assert check_size(tmp_path).returncode == 1


def test_the_tests_that_the_security_page_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", read("docs/security.md"))
    assert len(named) > 20
    missing = [(path, name) for path, name in named if f"def {name}(" not in read(path)]
    assert not missing
