from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from wideresnet.errors import DownloadError
from wideresnet.weights.catalogue import CATALOGUE
from wideresnet.weights.download import Patience
from wideresnet.weights.store import cache_folder, fetch, fetch_from_hub, is_cached, mirrored

BODY = b"tensors" * 5000
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(attempts=2, pause_s=0.001, timeout_s=5)
WEIGHTS = replace(CATALOGUE["wide_resnet50_2.tv_in1k"], sha256_prefix=SHA256[:8])


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, server, tmp_path):
    """The cache in a folder of its own, publishers behind the local server, and no hub."""
    for name in ("WRN_OFFLINE", "XDG_CACHE_HOME", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WRN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WRN_MIRROR", f"{server.url}/")
    server.files["/models/wide_resnet50_2-95faca4d.pth"] = BODY


def test_a_file_is_downloaded_once_and_then_found(server, tmp_path):
    assert not is_cached(WEIGHTS)
    path = fetch(WEIGHTS, patience=QUICK)
    assert path == tmp_path / "cache" / "wide_resnet50_2-95faca4d.pth"
    assert is_cached(WEIGHTS)
    assert fetch(WEIGHTS, offline=True) == path
    assert len(server.requests) == 1


def test_rows_of_one_file_share_it_in_the_cache(server):
    fetch(WEIGHTS, patience=QUICK)
    assert is_cached(replace(WEIGHTS, name=f"{WEIGHTS.name}@176"))


@pytest.mark.parametrize("by_argument", [True, False])
def test_offline_and_absent_says_where_to_put_the_file(server, monkeypatch, tmp_path, by_argument):
    if not by_argument:
        monkeypatch.setenv("WRN_OFFLINE", "1")
    with pytest.raises(DownloadError, match="offline") as caught:
        fetch(WEIGHTS, offline=by_argument)
    assert str(tmp_path / "cache" / "wide_resnet50_2-95faca4d.pth") in caught.value.hint
    assert f"name a copy of it in place of {WEIGHTS.name}" in caught.value.hint
    assert server.requests == []


def test_a_file_put_there_by_hand_is_used_offline(tmp_path):
    (tmp_path / "wide_resnet50_2-95faca4d.pth").write_bytes(BODY)
    assert fetch(WEIGHTS, cache=tmp_path, offline=True).read_bytes() == BODY


def test_a_damaged_cached_file_is_fetched_again_and_refused_offline(tmp_path):
    damaged = tmp_path / "wide_resnet50_2-95faca4d.pth"
    damaged.write_bytes(b"half")
    with pytest.raises(DownloadError, match="damaged"):
        fetch(WEIGHTS, cache=tmp_path, offline=True)
    assert damaged.exists()
    assert fetch(WEIGHTS, cache=tmp_path, patience=QUICK).read_bytes() == BODY


def test_a_wrong_hash_is_an_error_and_leaves_no_file():
    with pytest.raises(DownloadError, match="95faca4d"):
        fetch(replace(WEIGHTS, sha256_prefix="95faca4d"), patience=QUICK)
    assert not is_cached(WEIGHTS)


def test_the_mirror_replaces_scheme_and_host_and_keeps_the_path(monkeypatch):
    monkeypatch.setenv("WRN_MIRROR", "https://mirror.example/pub")
    assert mirrored(WEIGHTS.url) == "https://mirror.example/pub/models/wide_resnet50_2-95faca4d.pth"
    monkeypatch.delenv("WRN_MIRROR")
    assert mirrored(WEIGHTS.url) == WEIGHTS.url


def test_the_cache_follows_its_variables_in_order(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("WRN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "wideresnet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "wideresnet"


def hub(server, body: bytes, stated: str) -> None:
    server.files[f"/{WEIGHTS.hub}/resolve/main/model.safetensors"] = body
    server.headers = {
        "X-Repo-Commit": "c" * 40,
        "X-Linked-Etag": f'"{stated}"',
        "X-Linked-Size": str(len(body)),
    }


def test_the_hub_is_spoken_to_and_its_hash_checked(server, tmp_path):
    """Against a local server that answers as the hub does, through huggingface_hub itself."""
    hub(server, BODY, SHA256)
    steps = []
    path = fetch_from_hub(WEIGHTS, tmp_path, lambda *step: steps.append(step), endpoint=server.url)
    assert path == tmp_path / "wide_resnet50_2.tv_in1k.safetensors"
    assert path.read_bytes() == BODY
    assert steps[-1][0] == len(BODY)
    assert [method for method, _, _ in server.requests].count("GET") == 1
    assert fetch(WEIGHTS, cache=tmp_path, offline=True) == path


def test_a_hub_file_of_another_hash_is_refused_and_deleted(server, tmp_path):
    hub(server, BODY, "0" * 64)
    with pytest.raises(DownloadError, match="0000") as caught:
        fetch_from_hub(WEIGHTS, tmp_path, endpoint=server.url)
    assert SHA256 in caught.value.message
    assert not is_cached(WEIGHTS, tmp_path)


def test_a_hub_without_the_repository_is_a_download_error(server, tmp_path):
    with pytest.raises(DownloadError, match="from the hub"):
        fetch_from_hub(WEIGHTS, tmp_path, endpoint=server.url)
