"""Two runs and one output: the second one ends before its work and names the first one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from commands import Wrn
from wideresnet.output.lock import lock_output

TINY = ("-m", "tiny")
COMMANDS = {
    "classify": ("classify", "photos", *TINY, "--format", "csv", "-o", "out"),
    "classify on a cluster": ("classify", "photos", *TINY, "--ray", "local", "-o", "out"),
    "calibrate": ("calibrate", *TINY, "--data", "photos", "-o", "out"),
    "cascade": ("cascade", "tiny", "tiny", "--data", "photos", "-o", "out"),
    "evaluate": ("evaluate", "photos", *TINY, "-o", "out.csv"),
    "evaluate page": ("evaluate", "photos", *TINY, "--report", "out"),
    "merge": ("merge", "part.json", "--report", "out"),
    "compare": ("compare", "a.csv", "b.csv", "--report", "out"),
    "explain": ("explain", "photos", *TINY, "-o", "out"),
    "explain page": ("explain", "photos", *TINY, "--report", "out"),
    "embed": ("embed", "photos", *TINY, "-o", "out.npy"),
    "export": ("export", *TINY, "-o", "out"),
    "compile": ("compile", *TINY, "--precision", "fp16", "-o", "out"),
    "bench": ("bench", *TINY, "-o", "out"),
    "finetune": ("finetune", "--data", "photos", "--from", "tiny", "-o", "out"),
    "train": ("train", "recipe.toml", "-o", "out"),
    "data": ("data", "imagenet", "val.tar", "-o", "out"),
}
RECIPE = 'architecture = "wrn_10_1"\ndata = "cifar10"\nepochs = 1\nbatch_size = 8\nlearning_rate = 0.1\n'


@pytest.mark.parametrize("name", COMMANDS)
def test_the_second_of_two_runs_names_the_first(wrn: Wrn, tiny: Path, tmp_path: Path, name: str) -> None:
    if name == "classify on a cluster":
        pytest.importorskip("ray")
    if name == "train":
        pytest.importorskip("torch")
        (tmp_path / "recipe.toml").write_text(RECIPE)
    photos = tmp_path / "photos" / "cat"
    photos.mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(photos / "a.png")
    output = tmp_path / next(word for word in COMMANDS[name] if word.startswith("out"))
    with lock_output(output, command=True, inside=name in ("explain", "finetune", "train")):
        done = wrn(*COMMANDS[name])
    message = f"error: cannot write {output.name}: process {os.getpid()} on {os.uname().nodename} is writing it\n"
    assert (done.code, done.notes) == (2, f"{message}hint:  wait for it, or name another\n")
    assert not output.exists()


def test_a_command_that_fails_leaves_no_lock_and_no_folder(wrn: Wrn, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for output in ("a/b/out", "a"):
        assert wrn("finetune", "--data", "photos", "--from", "absent", "-o", output).code == 2
        assert wrn("export", "-m", "absent", "-o", output).code == 2
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["photos"]
