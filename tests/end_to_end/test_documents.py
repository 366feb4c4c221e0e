"""The READMEs and the tutorials: their ``sh`` blocks run in the order in which they stand, with bundled data only."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from documents import ROOT, blocks, commands, copy_of_repository, environment, run

TUTORIALS = ("photographs", "production", "fine-tuning", "research")
PAGES = ["README.md", *(f"docs/tutorials/{name}.md" for name in TUTORIALS)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_in_their_order_and_its_python_after_them(page: str, tmp_path: Path) -> None:
    folder = copy_of_repository(tmp_path)
    listed = list(commands(page))
    assert listed
    for command in listed:
        done = serve(command, folder) if command.startswith("wrn serve") else run(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    (folder / "page.py").write_text("\n".join(blocks(page, "python")))
    done = run("python page.py", folder)
    assert done.returncode == 0, done.stderr


def serve(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Start a service, wait for its first line, and stop it as Ctrl-C does."""
    with (folder / "serve.log").open("w+") as log:
        process = subprocess.Popen(
            [*command.split(), "--port", "0"], cwd=folder, env=environment(folder), stderr=log, text=True,
            executable=folder / "bin" / "wrn",
        )  # fmt: skip
        end = time.monotonic() + 120
        while "ready" not in (folder / "serve.log").read_text() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    said = (folder / "serve.log").read_text()
    return subprocess.CompletedProcess(command, code if "ready" in said else 1, "", said)


def test_the_first_output_of_the_readmes_is_what_the_command_prints(tmp_path: Path) -> None:
    done = run(next(commands("README.md")) + " 2>&1", copy_of_repository(tmp_path))
    assert done.returncode == 0, done.stdout
    for page in ("README.md", "README.zh-CN.md"):
        assert lines(done.stdout) == lines(blocks(page, "text")[0]), page


def lines(output: str) -> list[str]:
    """The lines of stdout and stderr in some order, without the version of the runtime and the number of threads."""
    return sorted(re.sub(r"openvino \S+|\d+ threads", "", output).splitlines())


def test_the_chinese_readme_has_the_commands_tables_and_links_of_the_english_one() -> None:
    english, chinese = ((ROOT / page).read_text("utf-8") for page in ("README.md", "README.zh-CN.md"))
    for language in ("sh", "shell", "python"):
        assert [without_comments(block) for block in blocks("README.zh-CN.md", language)] == [
            without_comments(block) for block in blocks("README.md", language)
        ]
    for pattern in (r"^##+ ", r"^- \*\*", r"^\|", r"^!\[|^<img"):
        counts = [len(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1], pattern
    assert links(chinese) - {"README.md"} == links(english) - {"README.zh-CN.md"}


def without_comments(code: str) -> list[str]:
    return [line for line in re.sub(r"\s*#.*", "", code).splitlines() if line.strip()]


def links(text: str) -> set[str]:
    """The files that a page links to."""
    return {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)} - {""}
