"""Without a network, an extra or a terminal: what is missing is said at once, and what takes long is seen to go on."""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from commands import Wrn
from wideresnet.cli import progress
from wideresnet.cli.progress import run_with_bar
from wideresnet.records import Progress

ABSENT = "wide_resnet50_2.tv_in1k"                 # in no cache of a test


@pytest.mark.parametrize(
    ("package", "command", "feature", "extra"),
    [
        ("onnxruntime", f"classify photos -m {ABSENT} --engine onnxruntime", "the engine onnxruntime", "onnxruntime"),
        ("torch", f"embed photos -m {ABSENT} --engine pytorch -o x.npy", "the engine pytorch", "train"),
        ("torch", f"explain photos -m {ABSENT} --engine pytorch -o x", "the engine pytorch", "train"),
        ("onnxruntime", f"evaluate photos -m {ABSENT} --engine onnxruntime", "the engine onnxruntime", "onnxruntime"),
        ("torch", f"compare {ABSENT} {ABSENT} --data photos --engine pytorch", "the engine pytorch", "train"),
        ("torch", f"serve -m {ABSENT} --engine pytorch", "the engine pytorch", "train"),
        ("torch", f"bench -m {ABSENT} --engine pytorch", "the engine pytorch", "train"),
        ("pyarrow", f"classify photos -m {ABSENT} -o x.parquet", "writing Parquet", "parquet"),
        ("pyarrow", f"evaluate photos -m {ABSENT} -o x.parquet", "writing Parquet", "parquet"),
        ("pyarrow", f"embed photos -m {ABSENT} -o x.parquet", "writing Parquet", "parquet"),
        ("pyarrow", f"classify a.parquet -m {ABSENT}", "reading Parquet", "parquet"),
        ("pyarrow", f"evaluate a.parquet -m {ABSENT}", "reading Parquet", "parquet"),
        ("nncf", f"compile -m {ABSENT} -o x", "int8", "compile"),
        ("ray", f"classify photos -m {ABSENT} --ray local -o x", "working on a cluster", "ray"),
        ("ray", f"evaluate photos -m {ABSENT} --ray local -o x", "working on a cluster", "ray"),
        ("ray", f"embed photos -m {ABSENT} --ray local -o x", "working on a cluster", "ray"),
        ("torch", f"finetune --from {ABSENT} --data photos -o x --mode full", "fine-tuning the whole network", "train"),
        ("tensorboard", "train recipe.toml --tensorboard -o x", "writing for TensorBoard", "tensorboard"),
        ("torch", f"export -m {ABSENT} --format timm -o x.pth", "a .pth file", "train"),
    ],
)  # fmt: skip
def test_a_missing_extra_is_said_before_a_download(
    wrn: Wrn, photos: Path, monkeypatch: pytest.MonkeyPatch, package: str, command: str, feature: str, extra: str
) -> None:
    """The models are not on this machine, so that the first step towards them would be another error."""
    Path("recipe.toml").write_text('architecture = "wrn_10_1"\nepochs = 1\nbatch_size = 8\nlearning_rate = 0.1\n')
    Path("a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, package, None)
    done = wrn(*command.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {feature} needs {package}, which is not installed\n"), done.err
    assert done.err.endswith(f"hint:  pip install 'wideresnet[{extra}]'\n")
    assert not list(Path().glob("x*"))


@pytest.mark.parametrize("command", [f"classify photos -m {ABSENT}", "evaluate cifar10", f"serve --port 0 -m {ABSENT}"])
def test_a_download_without_a_network_fails_at_once_in_words(
    wrn: Wrn, photos: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def resolve(*_: object, **_more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(time, "sleep", pytest.fail)
    monkeypatch.delenv("WRN_OFFLINE")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    done = wrn(*command.split())
    *_, first, error, hint = done.err.rstrip().split("\n")
    assert (done.code, first) == (2, f"downloading {command.split()[-1]}")
    assert error.startswith("error: cannot download https://")
    assert error.endswith(" is not found; is this machine online?")
    assert str(Path("cache").absolute()) in hint


def test_the_hub_s_own_variable_forbids_connections_too(
    wrn: Wrn, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WRN_OFFLINE")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = wrn("classify", photos, "-m", ABSENT)
    assert (done.code, "offline mode is on" in done.err, "downloading" in done.err) == (2, True, False)


def test_what_takes_long_is_said_in_lines_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    said, lines = threading.Event(), list[str]()
    monkeypatch.setattr(progress, "say", lambda line, err: (lines.append(line), said.set()))

    def work():  # type: ignore[no-untyped-def]
        for what, done in (("reading images", 0), ("evaluating", 1234)):
            yield Progress(what, done, 50_000 if done else 0)
            said.clear()
            assert said.wait(5)
        return "report"

    assert run_with_bar(work(), "starting", "images") == "report"
    assert capsys.readouterr().out == ""
    states = list(dict.fromkeys(line.rpartition(", ")[0] for line in lines))
    assert states[-2:] == ["reading images", "evaluating: 1,234 of 50,000 images"]


def test_short_work_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def work():  # type: ignore[no-untyped-def]
        yield Progress("evaluating", 1, 2)
        return "report"

    run_with_bar(work(), "evaluating", "images")
    assert capsys.readouterr() == ("", "")
