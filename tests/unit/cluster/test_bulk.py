"""Pending shards of a bulk run, and the records of its parts."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from commands import prepare
from wideresnet.bundle import Bundle, read_bundle
from wideresnet.cli.cluster import run_job
from wideresnet.cli.groups import ClusterOptions
from wideresnet.cluster import bulk, connect
from wideresnet.cluster.bulk import find_pending, read_results, read_rows, run_bulk, run_identity
from wideresnet.cluster.connect import Workers, exclude_nodes
from wideresnet.cluster.listing import Listing, list_images
from wideresnet.cluster.operations import Classify
from wideresnet.cluster.store import Store
from wideresnet.cluster.worker import BulkJob, ShardWorker, part_name
from wideresnet.datasets.labels import translated
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import InferenceSettings, Progress, ShardDone

pytest.importorskip("pyarrow", reason="needs the extra parquet")


class Run:
    """A job in a folder, whose shards a test processes one by one."""

    def __init__(self, folder: Path, output: Path, operation: Classify) -> None:
        self.bundle = read_bundle(folder / "tiny")
        self.listing: Listing = list_images([str(folder / "photos")], 8)
        self.job = BulkJob(operation, str(output), 1)
        self.store = Store(str(output))

    def pending(self) -> list[int]:
        run = run_identity(self.job, self.bundle, self.listing)
        return [shard.number for shard in find_pending(self.store, self.listing, run)]

    def process(self, number: int) -> None:
        worker = ShardWorker(self.job, self.job.operation.open(self.bundle, 1), "node")
        assert not worker.process(self.listing.shards[number]).error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bulk")
    prepare(folder, 20)
    return folder


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Run:
    return Run(folder, tmp_path / "out", Classify(InferenceSettings(batch_size=4)))


def test_shards_without_a_part_are_pending(run: Run) -> None:
    assert run.pending() == [0, 1, 2]
    run.process(1)
    assert run.pending() == [0, 2]


def test_the_folder_of_another_run_is_refused_with_the_difference(run: Run, folder: Path) -> None:
    run.pending()
    with pytest.raises(ConfigError, match="k is 5 there, 3 here"):
        Run(folder, Path(run.store.uri), Classify(InferenceSettings(batch_size=4), k=3)).pending()
    chinese = Run(folder, Path(run.store.uri), Classify(InferenceSettings(batch_size=4)))
    chinese.bundle = replace(run.bundle, labels=translated(run.bundle.labels, "zh", "cifar10"))
    with pytest.raises(ConfigError, match="labels is"):        # their names are in the parts
        chinese.pending()
    run.listing = replace(run.listing, sha256="other")
    with pytest.raises(ConfigError, match="source is"):
        run.pending()


def test_a_folder_with_other_parquet_files_is_refused(run: Run) -> None:
    Path(run.store.uri).mkdir()
    (Path(run.store.uri) / "mine.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds other files"):
        run.pending()


def test_the_parts_are_counted_and_read_in_order(run: Run) -> None:
    for number in (2, 0, 1):
        run.process(number)
    records, failures = read_results(run.job.output, run.listing.shards)
    assert [done.number for done in records] == [0, 1, 2]
    assert sum(done.pictures for done in records) == 20
    assert [Path(failure.path).name for failure in failures] == ["00007.png"]
    first = [row["path"] for row in read_rows(run.job.output, run.listing) if row["rank"] in (1, None)]
    assert first == [item.path for shard in run.listing.shards for item in shard.items]


def test_a_part_of_another_size_is_refused(run: Run) -> None:
    for number in range(3):
        run.process(number)
    (Path(run.job.output) / part_name(2)).replace(Path(run.job.output) / part_name(0))
    with pytest.raises(DataError, match="holds 4 results, its shard 8 images"):
        read_results(run.job.output, run.listing.shards)


def test_nodes_are_avoided_by_their_label() -> None:
    assert exclude_nodes({}) is None
    assert exclude_nodes(["a", "b"]) == {"ray.io/node-id": "!in(a,b)"}


@pytest.mark.parametrize(("cpus", "rounds"), [({"a": 1}, 1), ({"a": 1, "b": 1}, 2), ({"a": 1, "b": 0}, 1)])
def test_a_shard_that_fails_on_every_node_ends_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, cpus: dict[str, int], rounds: int
) -> None:
    """Ray would wait without a word for a node that is not avoided."""
    nodes = [{"NodeID": name, "Alive": True, "Resources": {"CPU": number}} for name, number in cpus.items()]
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(nodes=lambda: nodes))
    calls: list[str] = []

    def fail(*arguments: object) -> Iterator[ShardDone]:
        avoided = arguments[-1]
        assert isinstance(avoided, Collection)
        calls.append(min({*cpus} - {*avoided}))
        yield ShardDone(0, node=calls[-1], host="h", error="no disk", hint="look")

    monkeypatch.setattr(bulk, "_run_round", fail)
    with pytest.raises(DataError, match="3 shards failed, the first is 0: h: no disk"):
        list(run_bulk(run.job, run.bundle, run.listing, Workers(1, 1)))
    assert calls == [*"ab"][:rounds]


@pytest.mark.parametrize(("asked", "note"), [(9, "note: the cluster has room for 3 of 9 workers\n"), (3, ""), (0, "")])
def test_workers_that_do_not_fit_are_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: int, note: str
) -> None:
    nodes = [{"NodeID": name, "Alive": True, "Resources": {"CPU": cpus}} for name, cpus in {"a": 2, "b": 1}.items()]
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(nodes=lambda: nodes))
    monkeypatch.setattr(connect, "ray_connection", lambda *_: nullcontext())
    planned: list[Workers] = []

    def work(_job: BulkJob, _bundle: Bundle, _listing: Listing, workers: Workers) -> Iterator[Progress]:
        planned.append(workers)
        yield Progress("working", 1, 1)

    monkeypatch.setattr(bulk, "run_bulk", work)
    run_job(run.job.operation, run.bundle, run.listing, ClusterOptions("local", workers=asked, cpus=1), run.job.output)
    assert planned == [Workers(3, 1)]
    said = capsys.readouterr().err
    assert (note in said, "room" in said) == (True, bool(note))
