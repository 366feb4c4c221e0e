"""The CIFAR archives: where they come from, and what a person without a connection can type."""

from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.datasets.cifar import CIFAR10
from wideresnet.errors import DownloadError
from wideresnet.tasks.load.cifar_archive import archive_of, locate_data
from wideresnet.weights import download as downloads
from wideresnet.weights.download import Patience


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WRN_CACHE", str(tmp_path))
    monkeypatch.setenv("WRN_OFFLINE", "1")
    return tmp_path


def test_a_word_is_the_archive_and_a_path_itself(cache: Path) -> None:
    (cache / CIFAR10.archive).touch()
    assert locate_data(Path("cifar10")) == archive_of("cifar10", instead="") == cache / CIFAR10.archive
    assert locate_data(cache / "mine") == cache / "mine"
    assert archive_of("imagenet", instead="") is None


def test_offline_the_hint_says_how_ones_own_copy_is_named(cache: Path) -> None:
    """As the command takes it, and never by --weights."""
    with pytest.raises(DownloadError, match="offline mode is on") as caught:
        archive_of("cifar10", instead="name your own copy with --data FILE")
    assert caught.value.hint.endswith("or name your own copy with --data FILE")
    with pytest.raises(DownloadError) as caught:
        locate_data(Path("cifar10"))
    assert caught.value.hint.endswith("or give the path of your own copy in place of the word cifar10")


def test_a_download_that_fails_says_so_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("no")

    monkeypatch.delenv("WRN_OFFLINE")
    monkeypatch.setattr(downloads, "urlopen", refused)
    monkeypatch.setattr(downloads.download, "__defaults__", (None, Patience(attempts=1, pause_s=0)))
    with pytest.raises(DownloadError, match="cannot download") as caught:
        archive_of("cifar10", instead="name your own copy with --data FILE")
    assert "--weights" not in caught.value.hint
    assert caught.value.hint.endswith("tar.gz, or name your own copy with --data FILE")
