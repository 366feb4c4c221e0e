"""``wrn evaluate`` and ``wrn merge``: the same counts however the work is divided, interrupted and resumed."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import Wrn, prepare, start, stop_after
from fakes import tiny_cifar_archive, tiny_images
from wideresnet.datasets import open as opening
from wideresnet.output.scores import read_scores


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(opening, "open_labelled", partial(_open, verify=False))
    return tiny_cifar_archive(tmp_path, rows=20)


_open = opening.open_labelled


def counts(document: dict[str, Any]) -> dict[str, Any]:
    """Without what must differ: times, and which parts of the data these are."""
    kept = {**document["counts"], "seconds": 0}
    return {**kept, "conditions": {**kept["conditions"], "shards": [], "machine": {}}}


def test_shards_merge_into_the_report_of_the_whole(wrn: Wrn, tiny: Path, archive: Path, tmp_path: Path) -> None:
    whole = wrn("evaluate", archive, "-m", tiny, "--format", "json").json
    for part in (1, 2, 3):
        done = wrn("evaluate", archive, "-m", tiny, "--shard", f"{part}/3", "--format", "json")
        (tmp_path / f"{part}.json").write_text(done.out)
    merged = wrn("merge", "3.json", "1.json", "2.json", "--format", "json")
    assert (merged.code, merged.err) == (0, "")
    assert merged.json["n"] == 20
    assert merged.json["shards"] == ["1/3", "2/3", "3/3"]
    assert counts(merged.json) == counts(whole)
    assert "shards 1/3, 2/3, 3/3 of 20 images" in wrn("merge", "1.json", "2.json", "3.json").out


def test_a_merged_report_keeps_of_the_machines_what_is_the_same(
    wrn: Wrn, tiny: Path, archive: Path, tmp_path: Path
) -> None:
    """Shards may have run on different machines: the first one's facts are not those of the sum."""
    for part in (1, 2):
        done = wrn("evaluate", archive, "-m", tiny, "--shard", f"{part}/2", "--format", "json").json
        done["counts"]["conditions"]["machine"] = {"cpu": f"CPU {part}", "cpus": 2}
        (tmp_path / f"{part}.json").write_text(json.dumps(done))
    merged = wrn("merge", "1.json", "2.json", "--format", "json").json
    assert merged["counts"]["conditions"]["machine"] == {"cpus": 2}


def test_a_missing_shard_is_named(wrn: Wrn, tiny: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "2.json").write_text(wrn("evaluate", archive, "-m", tiny, "--shard", "2/3", "--format", "json").out)
    done = wrn("merge", "2.json")
    assert (done.code, done.err) == (1, "missing: 1/3, 3/3\n")


def test_a_file_named_twice_is_counted_once_and_said(wrn: Wrn, tiny: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(wrn("evaluate", archive, "-m", tiny, "--shard", "1/1", "--format", "json").out)
    done = wrn("merge", "1.json", "1.json", "--format", "json")
    assert (done.code, done.json["n"], done.err) == (0, 20, "note: 1.json is named 2 times and counted once\n")


def test_what_does_not_add_up_is_refused(wrn: Wrn, tiny: Path, archive: Path, tmp_path: Path) -> None:
    for name, more in {"a": ["--shard", "1/2"], "b": ["--shard", "1/2"], "c": [], "d": ["--shard", "2/4"]}.items():
        (tmp_path / f"{name}.json").write_text(wrn("evaluate", archive, "-m", tiny, *more, "--format", "json").out)
    assert "a.json and b.json are both of shard 1/2" in wrn("merge", "a.json", "b.json").err
    assert "the number of shards is '2' in one and '1' in the other" in wrn("merge", "a.json", "c.json").err
    assert "the number of shards is '2' in one and '4' in the other" in wrn("merge", "a.json", "d.json").err
    changed = json.loads((tmp_path / "d.json").read_text())
    changed["counts"]["engine"]["precision"] = "bf16"
    (tmp_path / "e.json").write_text(json.dumps(changed))
    done = wrn("merge", "d.json", "e.json")
    assert (done.code, "the precision is 'f32' in one and 'bf16' in the other" in done.err) == (2, True)
    upright = wrn("evaluate", archive, "-m", tiny, "--shard", "1/4", "--apply-exif", "--format", "json")
    (tmp_path / "g.json").write_text(upright.out)
    done = wrn("merge", "d.json", "g.json")
    assert (done.code, "the EXIF orientation is 'ignore' in one and 'transpose' in the other" in done.err) == (2, True)
    (tmp_path / "f.json").write_text("{}")
    assert "f.json holds no evaluation" in wrn("merge", "f.json").err


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2"])
def test_a_shard_that_cannot_be_is_refused(wrn: Wrn, tiny: Path, archive: Path, shard: str) -> None:
    done = wrn("evaluate", archive, "-m", tiny, f"--shard={shard}")
    assert (done.code, "a shard is i/n with i from 1 to n" in done.err) == (2, True)


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_the_scores_tell_the_same_as_the_report(wrn: Wrn, tiny: Path, archive: Path, format: str) -> None:
    done = wrn("evaluate", archive, "-m", tiny, "-o", f"scores.{format}", "--format", "json").json
    scores = list(read_scores(Path(f"scores.{format}")))
    assert len(scores) == done["n"] == 20
    assert sum(getattr(each, "rank", 0) == 1 for each in scores) == done["correct1"]
    again = wrn("evaluate", archive, "-m", tiny, "-o", f"scores.{format}", "--resume", "--format", "json").json
    assert again["counts"]["bins"] == done["counts"]["bins"]


def test_resume_of_a_file_of_other_images_is_refused(wrn: Wrn, tiny: Path, archive: Path) -> None:
    wrn("evaluate", archive, "-m", tiny, "-o", "s.csv", "--shard", "1/2")
    done = wrn("evaluate", archive, "-m", tiny, "-o", "s.csv", "--shard", "2/2", "--resume")
    assert (done.code, "of other images than cifar10 test" in done.err) == (2, True)
    assert "--resume needs the file" in wrn("evaluate", archive, "-m", tiny, "--resume").err


def test_interrupted_killed_and_resumed_it_is_the_report_of_an_undisturbed_run(tmp_path: Path) -> None:
    prepare(tmp_path, 3000)
    command = ("evaluate", "photos", "-m", "tiny", "--batch-size", "7", "--format", "json", "-o")
    undisturbed, _ = start(tmp_path, *command, "whole.csv").communicate()
    code, said = stop_after(start(tmp_path, *command, "out.csv"), 0, tmp_path, by=signal.SIGINT, file="out.csv")
    assert (code, b"are kept beside out.csv: --resume continues" in said) == (130, True)
    stop_after(start(tmp_path, *command, "out.csv", "--resume"), 0.05, tmp_path, file="out.csv")
    resumed, _ = start(tmp_path, *command, "out.csv", "--resume").communicate()
    assert counts(json.loads(resumed)) == counts(json.loads(undisturbed))
    assert json.loads(resumed)["n"] == 2970


def test_labels_in_another_order_end_the_evaluation(wrn: Wrn, tiny: Path, archive: Path) -> None:
    """The tiny network is not right often enough to tell; what others answered is."""
    wrn("evaluate", archive, "-m", tiny, "--format", "json")
    lines = [
        f"val/{(label + 1) % 10}/{number}.png: Relay top-0 id: {label}, prob: 0.95, class name: x\n"
        for number in range(20)
        for label in range(10)
    ]
    Path("result.txt").write_text("".join(lines))
    done = wrn("evaluate", "--results", "result.txt", "-m", tiny)
    assert (done.code, "as if counted from 1" in done.err, done.out) == (2, True, "")
    kept = wrn("evaluate", "--results", "result.txt", "-m", tiny, "--skip-order-check")
    assert (kept.code, "top-1  0.000 %" in kept.out) == (0, True)
    assert "top-5  not known: the file has 1 answers an image" in kept.out


def test_answers_of_others_are_scored_without_a_network(wrn: Wrn, tiny: Path) -> None:
    lines = [
        f"val/3/a: b, c {number}.JPEG: Relay top-{rank} id: {(3 + rank + number) % 10}, prob: 0.1, class name: x\n"
        for number in range(3)
        for rank in range(5)
    ]
    Path("result.txt").write_text("".join(lines))
    found = wrn("evaluate", "--results", "result.txt", "-m", tiny, "--format", "json").json
    assert (found["n"], found["correct1"], found["correct5"], found["engine"]) == (3, 1, 1, None)
    refused = wrn("evaluate", "--results", "result.txt", "-m", tiny, "-o", "scores.csv")
    assert (refused.code, "with --results or --outputs: no model is run" in refused.err) == (2, True)


def test_both_ways_of_running_give_the_same_scores(wrn: Wrn, tiny: Path, archive: Path) -> None:
    command = ("evaluate", archive, "-m", tiny, "--format", "json", "--infer-mode")
    first, second = (wrn(*command, mode).json for mode in ("sync", "async"))
    assert counts(first) == counts(second)


def test_the_page_stands_alone(wrn: Wrn, tiny: Path, archive: Path) -> None:
    assert wrn("evaluate", archive, "-m", tiny, "--report", "page.html").code == 0
    page = Path("page.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") > 3
    assert "http" not in page.replace("http-equiv", "")


def test_photographs_on_their_side_are_judged_upright_where_that_is_asked_for(
    wrn: Wrn, tiny: Path, tmp_path: Path
) -> None:
    exif, noise = Image.Exif(), tiny_images(6, 40)[:, :30]
    exif[0x0112] = 6                               # to be turned clockwise
    for number, rgb in enumerate(noise):
        for part in ("upright", "turned"):
            (tmp_path / part / "cat").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(tmp_path / f"upright/cat/{number}.png")
        Image.fromarray(np.rot90(rgb)).save(tmp_path / f"turned/cat/{number}.png", exif=exif)

    def judged(folder: str, *more: str) -> tuple[str, list[tuple[int, ...]]]:
        done = wrn("evaluate", folder, "-m", tiny, "-o", f"{folder}.jsonl", "--format", "json", *more)
        scores = [each.probabilities for each in read_scores(tmp_path / f"{folder}.jsonl")]
        return done.json["counts"]["conditions"]["exif"], scores

    upright = judged("upright")
    assert judged("turned", "--apply-exif") == ("transpose", upright[1])
    lying = judged("turned")
    assert lying[0] == "ignore"
    assert lying[1] != upright[1]
    err = wrn("evaluate", "--results", "result.txt", "--apply-exif").err
    assert "with --results or --outputs: no model is run" in err


def test_a_whole_file_of_another_model_or_setting_is_not_taken_for_this_one(wrn: Wrn, tmp_path: Path) -> None:
    """It gave the old scores under the new model's name."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.effect_noise((40, 40 + label), 90).convert("RGB").save(tmp_path / "val" / name / "a.png")
    assert wrn("evaluate", "val", "-o", "scores.csv").code == 0
    assert wrn("evaluate", "val", "-o", "scores.csv", "--resume").code == 0
    done = wrn("evaluate", "val", "-o", "scores.csv", "--resume", "--resolution", "16")
    assert (done.code, "of another model or other settings" in done.err) == (2, True)


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_complete_file_does_not_become_that_of_other_settings(
    wrn: Wrn, tiny: Path, archive: Path, format: str
) -> None:
    """The figures of f32 were reported as those of bf16. CSV states no settings, which is said."""
    command = "evaluate", archive, "-m", tiny, "-o", f"scores.{format}", "--resume"
    assert wrn(*command).code == 0
    again, other = wrn(*command), wrn(*command, "--apply-exif")
    unknown = f"scores.{format} is complete and, as CSV, states no settings"
    assert (again.code, unknown in again.err) == (0, format == "csv")
    if format == "csv":
        assert (other.code, unknown in other.err) == (0, True)
    else:
        assert (other.code, "is complete, but of another model or other settings" in other.err) == (2, True)
