"""The same bytes are answered once, every path gets its answer, and the order stays."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from fakes import write_tar
from wideresnet.datasets import copies
from wideresnet.datasets.tar import TarImages
from wideresnet.records import Failure, Item, LabelScore, Prediction
from wideresnet.tasks.classify.dedupe import MAX_ANSWERS, answer_once, remembered_for


class Network:
    """Answers with the bytes it was given, pulling some items ahead; keeps what it was asked."""

    def __init__(self, ahead: int = 4) -> None:
        self.ahead = ahead
        self.asked: list[bytes] = []

    def __call__(self, items: Iterator[Item]) -> Iterator[Prediction | Failure]:
        while group := list(islice(items, self.ahead)):
            for item in group:
                if isinstance(item.source, Path):
                    yield Failure(item.path, "no such file")
                    continue
                assert isinstance(item.source, bytes)
                self.asked.append(item.source)
                yield Prediction(item.path, (LabelScore(0, item.source.decode(), 1.0),))


def files(folder: Path, contents: list[str]) -> list[Item]:
    made = []
    for number, text in enumerate(contents):
        path = folder / f"{number:03}"
        path.write_text(text)
        made.append(Item(str(path), path))
    return made


@pytest.mark.parametrize("ahead", [1, 3, 16])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("remembered", [0, 1, 20])
def test_every_path_gets_the_answer_of_its_own_bytes_in_order(
    tmp_path: Path, ahead: int, seed: int, remembered: int
) -> None:
    contents = random.Random(seed).choices("abcdefgh", k=60)
    network, items = Network(ahead), files(tmp_path, contents)
    answers = list(answer_once(network, items, remembered=remembered, waiting=5))
    assert [a.path for a in answers] == [item.path for item in items]
    assert [a.predictions[0].label for a in answers if isinstance(a, Prediction)] == contents


def test_images_in_shards_are_answered_once_too(tmp_path: Path) -> None:
    files = [(f"{number}.png", data) for number, data in enumerate((b"a", b"b", b"a", b"a"))]
    rows = TarImages(str(write_tar(tmp_path / "x.tar", files)))
    network = Network()
    answers = list(answer_once(network, [Item(path, source) for path, source, _ in rows]))
    assert network.asked == [b"a", b"b"]
    assert [a.path for a in answers] == [f"{tmp_path}/x.tar/{number}.png" for number in range(4)]


def test_each_content_is_asked_once(tmp_path: Path) -> None:
    network = Network()
    list(answer_once(network, files(tmp_path, list("aabacabba"))))
    assert network.asked == [b"a", b"b", b"c"]


def test_memory_is_bounded_and_forgotten_ones_are_asked_again(tmp_path: Path) -> None:
    network, contents = Network(1), [str(k) for k in range(12)] * 2
    answers = list(answer_once(network, files(tmp_path, contents), remembered=5, waiting=2))
    assert [a.predictions[0].label for a in answers if isinstance(a, Prediction)] == contents
    assert len(network.asked) == 24


def test_a_long_row_of_copies_is_not_held_back(tmp_path: Path) -> None:
    """With nothing but copies behind one image, answers come before the last file was read."""
    network, read = Network(1), []
    items = (read.append(item.path) or item for item in files(tmp_path, ["a"] * 50))
    next(answers := answer_once(network, items, waiting=4))
    next(answers)
    assert len(read) < 20


def test_what_cannot_be_read_fails_each_for_itself(tmp_path: Path) -> None:
    items = [Item("gone", tmp_path / "gone"), *files(tmp_path, ["a"]), Item("gone too", tmp_path / "gone too")]
    answers = list(answer_once(Network(), items))
    assert [type(a) for a in answers] == [Failure, Prediction, Failure]
    assert [a.path for a in answers] == [i.path for i in items]


def test_failures_are_copied_too(tmp_path: Path) -> None:
    def refuse(items: Iterator[Item]) -> Iterator[Prediction | Failure]:
        return (Failure(item.path, "no image", "look at it") for item in items)

    items = files(tmp_path, ["a", "a", "b", "a"])
    assert list(answer_once(refuse, items)) == [Failure(item.path, "no image", "look at it") for item in items]


def test_a_file_is_read_once_and_a_large_one_does_not_wait_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "MAX_BYTES", 3)
    items, handed = files(tmp_path, ["abc", "abcd"]), []

    def keep(items: Iterator[Item]) -> Iterator[Prediction | Failure]:
        for item in items:
            handed.append(item.source)
            yield Failure(item.path, "")

    list(answer_once(keep, items))
    assert handed == [b"abc", items[1].source]


def test_what_is_remembered_takes_no_more_memory_with_more_classes() -> None:
    most = MAX_ANSWERS
    assert [remembered_for(k) for k in (1, 5, 10, 1000)] == [most, most, most // 2, most // 200]
