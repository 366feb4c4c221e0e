"""Folders and object stores, and retries of their errors."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from wideresnet.cluster import store as module
from wideresnet.cluster.store import Store, is_uri, join_location, retry, split_location
from wideresnet.errors import ConfigError, DataError

pytest.importorskip("pyarrow", reason="needs the extra parquet")


@pytest.fixture(params=["path", "uri"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "out") if request.param == "path" else f"file://{tmp_path}/out")


def refusing(times: int, error: OSError) -> Callable[[], str]:
    """Return a function that raises ``error`` ``times`` times, then returns "done"."""
    errors = [error] * times

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    return work


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were slept, with a clock that only sleeping advances."""
    waited: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waited.append)
    monkeypatch.setattr(module.time, "monotonic", lambda: sum(waited))
    return waited


def test_written_files_are_complete(store: Store) -> None:
    store.write("a/b.bin", b"first")
    store.write("a/b.bin", b"second")
    assert store.has("a/b.bin")
    assert store.read("a/b.bin") == b"second"
    assert store.sizes() == {"a/b.bin": 6}            # and nothing beside it
    store.remove("a/b.bin")
    store.remove("a/b.bin")
    assert not store.has("a/b.bin")


def test_names_come_folder_by_folder_as_a_walk_gives_them(store: Store) -> None:
    for name in ("b.jpg", "a/z.jpg", "a-b/c.jpg", "a/b/c.jpg"):
        store.write(name, b"x")
    assert [*store.sizes().items()] == [("a/b/c.jpg", 1), ("a/z.jpg", 1), ("a-b/c.jpg", 1), ("b.jpg", 1)]


def test_a_missing_folder_is_empty(store: Store) -> None:
    assert store.sizes() == {}
    assert not store.has("x")
    with pytest.raises(FileNotFoundError):
        store.read("x")


def test_a_full_local_disk_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        Store(str(tmp_path)).write("x", b"x")
    assert pauses == []


def test_a_failing_store_is_retried_with_longer_pauses(pauses: list[float]) -> None:
    assert retry(refusing(4, OSError("AWS Error SLOW_DOWN"))) == "done"
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_retries_end(pauses: list[float]) -> None:
    with pytest.raises(OSError, match="SLOW_DOWN"):
        retry(refusing(100, OSError("AWS Error SLOW_DOWN")), seconds=10)
    assert sum(pauses) <= 10


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "gone"),
        PermissionError(13, "not yours"),
        OSError(errno.ENOSPC, "full"),
        OSError("When getting: AWS Error ACCESS_DENIED during GetObject"),
    ],
)
def test_permanent_errors_are_raised_at_once(error: OSError, pauses: list[float]) -> None:
    with pytest.raises(type(error)):
        retry(refusing(1, error))
    assert pauses == []


def test_an_uri_that_no_file_system_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot open the store gopher"):
        Store("gopher://a/b").sizes()


def test_an_unreachable_store_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_work: object) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION")

    monkeypatch.setattr(module, "retry", refuse)
    with pytest.raises(DataError, match=r"cannot list .* NETWORK_CONNECTION"):
        Store(str(tmp_path)).sizes()


def test_locations_keep_their_query() -> None:
    assert is_uri("s3://b/c")
    assert not is_uri("a/b?c")
    assert join_location("s3://b/c?scheme=http", "d/e.jpg") == "s3://b/c/d/e.jpg?scheme=http"
    assert join_location("what?/", "e.jpg") == "what?/e.jpg"
    assert split_location("s3://b/c/d.txt?scheme=http") == ("s3://b/c?scheme=http", "d.txt")
    assert split_location("d.txt") == (".", "d.txt")
    assert split_location("/d.txt") == ("/", "d.txt")
