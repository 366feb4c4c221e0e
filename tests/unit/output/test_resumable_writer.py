"""A file of answers survives any interruption: nothing lost, nothing doubled, and the same bytes at the end."""

from __future__ import annotations

import gc
import io
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wideresnet.errors import ConfigError
from wideresnet.output.answers import COLUMNS, TEXT_FORMATS, write_answers
from wideresnet.output.resumable_writer import open_resumable, part_of
from wideresnet.records import Failure, Item, LabelScore, Prediction

RUN = {"model": "tiny", "k": 2}
FORMATS = (*TEXT_FORMATS, "parquet")
# A path with everything that CSV has to quote, and one that is no UTF-8.
NAMES = ["a.png", 'quote " and, comma.png', "line\nbreak.png", "caf\udce9.png", *(f"{k:02}.png" for k in range(9))]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests look at is the same with fsync and without, but for the time it takes."""
    monkeypatch.setattr(os, "fsync", lambda _file: None)


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    return request.param


def answer_to(path: str) -> Prediction | Failure:
    if path.startswith("03"):
        return Failure(path, "cut short", "copy it again")
    return Prediction(path, (LabelScore(3, "cat", 0.75), LabelScore(5, 'a "dog"', 0.25)))


def items(names: list[str] = NAMES) -> list[Item]:
    return [Item(name, b"") for name in names]


class Killed(BaseException):
    """Not caught anywhere, like a signal."""


def run(
    file: Path, format: str, names: list[str], stop: int | None = None, resume: bool = False, seconds: float = 0
) -> list[str]:
    """Answer ``names``, or ``stop`` of them; the paths that were answered now. A checkpoint after each answer."""
    now: list[str] = []
    with open_resumable(file, format, RUN, resume=resume, seconds=seconds) as writer:
        for item in writer.unanswered(items(names)):
            if len(now) == stop:
                raise Killed
            writer.add(answer_to(item.path))
            now.append(item.path)
    return now


def content(file: Path, format: str) -> object:
    if format != "parquet":
        return file.read_bytes()
    import pyarrow.parquet as pq

    return pq.read_table(file).to_pylist()


def test_a_file_holds_what_the_stream_would(tmp_path: Path, format: str) -> None:
    file = tmp_path / "answers"
    run(file, format, NAMES)
    assert list(tmp_path.iterdir()) == [file]
    if format != "parquet":
        out = io.StringIO()
        write_answers(map(answer_to, NAMES), format, out)
        assert file.read_bytes() == out.getvalue().encode("utf-8", "surrogateescape")


def test_parquet_has_the_rows_of_csv_and_one_a_failure(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    file = tmp_path / "answers.parquet"
    run(file, "parquet", ["a.png", "03.png"])
    rows = content(file, "parquet")
    assert isinstance(rows, list)
    assert tuple(rows[0]) == tuple(COLUMNS)
    assert [(r["path"], r["rank"], r["index"], r["probability"], r["hint"]) for r in rows] == [
        ("a.png", 1, 3, 0.75, None),
        ("a.png", 2, 5, 0.25, None),
        ("03.png", None, None, None, "copy it again"),
    ]


def test_a_file_of_nothing_is_still_one_of_its_format(tmp_path: Path, format: str) -> None:
    run(tmp_path / "answers", format, [])
    if format == "parquet":
        assert content(tmp_path / "answers", format) == []
    else:
        assert content(tmp_path / "answers", format) == (TEXT_FORMATS[format].head + TEXT_FORMATS[format].tail).encode()


PLAIN = [name for name in NAMES if name.isprintable()]


def test_interrupted_and_resumed_anywhere_it_is_the_same_file(tmp_path: Path, format: str) -> None:
    run(tmp_path / "whole", format, PLAIN)
    for stop in range(len(PLAIN)):
        file = tmp_path / f"answers-{stop}"
        with pytest.raises(Killed):
            run(file, format, PLAIN, stop)
        assert not file.exists()
        assert run(file, format, PLAIN, resume=True) == PLAIN[stop:]
        assert content(file, format) == content(tmp_path / "whole", format)
        assert not part_of(file).exists()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), format=st.sampled_from(["csv", "jsonl", "json"]))
def test_whatever_was_written_after_the_last_checkpoint_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, seed: int, format: str
) -> None:
    """A kill leaves half a line, and a power failure other bytes beyond the last checkpoint, lines among them."""
    folder, dice = tmp_path_factory.mktemp("run"), random.Random(seed)
    run(folder / "whole", format, NAMES)
    file = folder / "answers"
    with pytest.raises(Killed):
        run(file, format, NAMES, dice.randrange(1, len(NAMES)))
    with part_of(file).open("ab") as out:
        out.write(b"\0" + dice.randbytes(dice.randrange(40)) + b'\n{"path": "x", "predictions": []}\n{"path"')
    run(file, format, NAMES, resume=True)
    assert file.read_bytes() == (folder / "whole").read_bytes()
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "later",
    [
        ["new.png", *PLAIN],                       # one more in front
        [*PLAIN[1:], "z.png"],                     # one gone, one more
        PLAIN[::-1],                               # another order
        [*PLAIN[:2], "new.png", *PLAIN[2:]],
    ],
)
def test_with_other_images_each_one_is_answered_once(tmp_path: Path, later: list[str]) -> None:
    file = tmp_path / "answers"
    with pytest.raises(Killed):
        run(file, "jsonl", PLAIN, 5)
    run(file, "jsonl", later, resume=True)
    paths = [json.loads(line)["path"] for line in file.read_text("utf-8", "surrogateescape").splitlines()]
    assert sorted(paths) == sorted({*PLAIN[:5], *later})


def test_a_image_named_twice_is_answered_twice_also_when_another_came_between(tmp_path: Path) -> None:
    file = tmp_path / "answers"
    with pytest.raises(Killed):
        run(file, "jsonl", ["a", "b", "a", "b"], 3)
    run(file, "jsonl", ["new", "a", "b", "a", "b"], resume=True)
    paths = [json.loads(line)["path"] for line in file.read_text().splitlines()]
    assert sorted(paths) == ["a", "a", "b", "b", "new"]


# Every moment

FEW = ["a.png", "03.png"]
OURS = {"resumable_writer.py", "parquet.py", "atomic.py"}


@contextmanager
def before_each_line(files: set[str], do: Callable[[], None]) -> Iterator[None]:
    """Call ``do`` before each line that runs in one of these files."""
    def trace(frame: FrameType, event: str, _argument: object) -> object:
        if Path(frame.f_code.co_filename).name not in files:
            return None
        if event == "line":
            do()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


Disk = tuple[tuple[str, bytes], ...]


def disk(folder: Path) -> Disk:
    """All files below a folder; empty folders too, as names with a slash."""
    return tuple(
        (str(path.relative_to(folder)) + "/" * path.is_dir(), b"" if path.is_dir() else path.read_bytes())
        for path in sorted(folder.rglob("*"))
    )


def restore(folder: Path, files: Disk) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    for name, data in files:
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)


def test_killed_before_any_line_the_old_file_or_the_new_is_there_and_the_run_can_go_on(
    tmp_path: Path, format: str
) -> None:
    """A kill leaves what the disk holds at that moment: buffers are lost and nothing is tidied up."""
    run(tmp_path / "whole", format, FEW)
    expected, folder = content(tmp_path / "whole", format), tmp_path / "run"
    folder.mkdir()
    file = folder / "answers"
    file.write_text("old")
    states: dict[Disk, None] = {}
    with before_each_line(OURS | {"shutil.py"}, lambda: states.setdefault(disk(folder))):
        run(file, format, FEW)
    assert len(states) > 8
    for state in states:
        restore(folder, state)
        assert file.read_bytes() == b"old" or content(file, format) == expected
        run(file, format, FEW, resume=True)
        assert content(file, format) == expected
        assert not part_of(file).exists()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seconds", [pytest.param(0, marks=pytest.mark.slow), 100])
def test_stopped_with_ctrl_c_before_any_line_nothing_is_lost_or_doubled(tmp_path: Path, seconds: float) -> None:
    run(tmp_path / "whole", "json", FEW[:1])
    remaining = line = 1

    def stop() -> None:
        nonlocal remaining
        remaining -= 1
        if not remaining:
            raise KeyboardInterrupt

    while remaining <= 0 or line == 1:                  # until a run ends before the line it is to be stopped at
        line += 1
        remaining, file = line, tmp_path / f"{line}"
        try:
            with before_each_line({"resumable_writer.py"}, stop):
                run(file, "json", FEW[:1], seconds=seconds)
        except KeyboardInterrupt:
            run(file, "json", FEW[:1], resume=True)
        assert file.read_bytes() == (tmp_path / "whole").read_bytes()
    gc.collect()                                   # files that a real process would have closed by ending
    assert line > 50


def test_a_run_without_an_answer_leaves_nothing_behind(tmp_path: Path, format: str) -> None:
    with pytest.raises(Killed):
        run(tmp_path / "answers", format, PLAIN, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_working_file_cut_short_is_completed(tmp_path: Path) -> None:
    run(tmp_path / "whole", "csv", PLAIN)
    file = tmp_path / "answers"
    with pytest.raises(Killed):
        run(file, "csv", PLAIN, 3)
    part_of(file).write_bytes(part_of(file).read_bytes()[:-1])
    assert run(file, "csv", PLAIN, resume=True) == PLAIN[2:]
    assert file.read_bytes() == (tmp_path / "whole").read_bytes()


def test_the_folder_of_an_older_version_is_refused(tmp_path: Path) -> None:
    """Its files were 'data', 'seen' and 'state.json'; none of them is read or removed."""
    folder = part_of(tmp_path / "answers")
    folder.mkdir()
    (folder / "state.json").write_text("{}")
    for resume in (False, True):
        with pytest.raises(ConfigError, match="of an older version") as caught:
            run(tmp_path / "answers", "csv", PLAIN, resume=resume)
        assert caught.value.hint == "remove it to begin anew"
    assert (folder / "state.json").exists()


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "{}\n", "notes"])
def test_a_file_that_is_no_unfinished_run_is_not_written_over(tmp_path: Path, content: str) -> None:
    part_of(tmp_path / "answers").write_text(content)
    with pytest.raises(ConfigError, match="is not an unfinished run"):
        run(tmp_path / "answers", "csv", PLAIN, resume=True)
    assert part_of(tmp_path / "answers").read_text() == content


def test_a_folder_or_a_device_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    for file in (tmp_path / "answers", Path(os.devnull)):
        with pytest.raises(ConfigError, match=r"Is a directory|not a regular file"):
            run(file, "csv", PLAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["answers"]


def test_failures_of_the_earlier_part_are_counted(tmp_path: Path) -> None:
    names = ["03.png", "a.png", "b.png"]
    with pytest.raises(Killed):
        run(tmp_path / "answers", "csv", names, 2)
    with open_resumable(tmp_path / "answers", "csv", RUN, resume=True) as writer:
        assert (writer.records, writer.failures) == (2, 1)


def test_an_unfinished_run_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "answers"
    with pytest.raises(Killed):
        run(file, "csv", PLAIN, 2)
    with pytest.raises(ConfigError, match="an unfinished run is in") as caught:
        run(file, "csv", PLAIN)
    assert "--resume" in caught.value.hint
    assert run(file, "csv", PLAIN, resume=True) == PLAIN[2:]


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "answers"
    with pytest.raises(Killed):
        run(file, "csv", PLAIN, 2)
    with pytest.raises(ConfigError, match="its k is 2, this run's is 5"), open_resumable(
        file, "csv", {**RUN, "k": 5}, resume=True
    ):
        pass
    with pytest.raises(ConfigError, match="its format is 'csv'"):
        run(file, "jsonl", PLAIN, resume=True)


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "answers"
    file.write_text("old")
    with pytest.raises(Killed):
        run(file, "json", PLAIN, 2)
    assert file.read_text() == "old"
    run(file, "json", PLAIN, resume=True)
    assert len(json.loads(file.read_bytes())) == len(PLAIN)


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    with open_resumable(tmp_path / "answers", "csv", RUN):
        with pytest.raises(ConfigError, match=f"answers: process {os.getpid()} on .* is writing it"):
            run(tmp_path / "answers", "csv", PLAIN)
        assert part_of(tmp_path / "answers").exists()


def test_a_folder_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        run(tmp_path / "absent" / "answers", "csv", PLAIN)


def test_a_full_disk_is_an_error_in_words_and_what_was_answered_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "answers"

    def full(_file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(Killed):
        run(file, "csv", PLAIN, 3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="No space left on device") as caught:
            run(file, "csv", PLAIN, resume=True)
    assert "--resume" in caught.value.hint
    run(file, "csv", PLAIN, resume=True)
    run(tmp_path / "whole", "csv", PLAIN)
    assert file.read_bytes() == (tmp_path / "whole").read_bytes()
