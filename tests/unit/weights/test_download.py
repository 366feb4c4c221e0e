from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from wideresnet.errors import DownloadError
from wideresnet.weights.download import Patience, download

BODY = bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(attempts=3, pause_s=0.001, timeout_s=5)


@pytest.fixture
def url(server):
    server.files["/w-0.pth"] = BODY
    return f"{server.url}/w-0.pth"


def test_a_file_arrives_whole_and_leaves_no_part(url, tmp_path):
    steps = []
    path = download(url, tmp_path / "new" / "w.pth", SHA256[:8], lambda *step: steps.append(step), QUICK)
    assert path.read_bytes() == BODY
    assert steps[-1] == (len(BODY), len(BODY))
    assert not list(path.parent.glob("*.part"))


def test_a_cut_connection_is_resumed_where_it_broke(server, url, tmp_path):
    server.cut_after = [5000, 300]
    path = download(url, tmp_path / "w.pth", SHA256[:8], None, QUICK)
    assert path.read_bytes() == BODY
    assert [wanted for _, _, wanted in server.requests] == [None, "bytes=5000-", "bytes=5300-"]


def test_a_later_call_goes_on_from_the_part_of_an_earlier_one(server, url, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(BODY[:7000])
    download(url, tmp_path / "w.pth", SHA256, None, QUICK)
    assert (tmp_path / "w.pth").read_bytes() == BODY
    assert server.requests[0][2] == "bytes=7000-"


def test_a_server_that_ignores_ranges_sends_it_all_again_and_nothing_is_doubled(server, url, tmp_path):
    server.ranges = False
    server.cut_after = [5000]
    assert download(url, tmp_path / "w.pth", SHA256[:8], None, QUICK).read_bytes() == BODY


def test_a_part_that_is_already_whole_needs_no_byte_more(server, url, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(BODY)
    assert download(url, tmp_path / "w.pth", SHA256, None, QUICK).read_bytes() == BODY


def test_a_part_longer_than_the_file_is_thrown_away(server, url, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(BODY + b"more")
    assert download(url, tmp_path / "w.pth", SHA256, None, QUICK).read_bytes() == BODY


def test_a_wrong_hash_deletes_the_file_and_shows_both_hashes(url, tmp_path):
    with pytest.raises(DownloadError) as caught:
        download(url, tmp_path / "w.pth", "deadbeef", None, QUICK)
    assert SHA256 in caught.value.message
    assert "deadbeef" in caught.value.message
    assert not (tmp_path / "w.pth").exists()
    assert not (tmp_path / "w.pth.part").exists()


def test_404_is_final_and_asked_once(server, tmp_path):
    with pytest.raises(DownloadError, match="404") as caught:
        download(f"{server.url}/none.pth", tmp_path / "w.pth", SHA256[:8], None, QUICK)
    assert "give its path" in caught.value.hint
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(server, url, tmp_path):
    server.statuses = [503, 429]
    assert download(url, tmp_path / "w.pth", SHA256[:8], None, QUICK).read_bytes() == BODY


def test_nobody_there_gives_up_after_the_attempts(tmp_path):
    with pytest.raises(DownloadError, match="cannot download"):
        download("http://127.0.0.1:9/w.pth", tmp_path / "w.pth", SHA256[:8], None, QUICK)


def test_a_server_that_always_cuts_without_a_new_byte_ends_in_an_error(server, url, tmp_path):
    server.cut_after = [100] + [0] * 10
    with pytest.raises(DownloadError, match="cut after 100 of 102,400 bytes") as caught:
        download(url, tmp_path / "w.pth", SHA256[:8], None, QUICK)
    assert "after 100 bytes" in caught.value.hint


def test_a_folder_that_cannot_be_written_is_an_error_with_the_way_out(url, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot write") as caught:
        download(url, tmp_path / "file" / "w.pth", SHA256[:8], None, QUICK)
    assert "WRN_CACHE" in caught.value.hint


def test_two_at_the_same_time_fetch_it_once(server, url, tmp_path):
    def one(results: list[Path]) -> None:
        results.append(download(url, tmp_path / "w.pth", SHA256[:8], None, QUICK))

    results: list[Path] = []
    threads = [threading.Thread(target=one, args=(results,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in results] == [BODY] * 4
    assert len(server.requests) == 1
