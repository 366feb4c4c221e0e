"""A worker's shards, without a cluster: every part is written completely or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import wideresnet
from commands import prepare
from wideresnet.bundle import read_bundle
from wideresnet.cluster import worker as module
from wideresnet.cluster.listing import list_images
from wideresnet.cluster.operations import Classify, Embed
from wideresnet.cluster.shards import Shard
from wideresnet.cluster.store import Store
from wideresnet.cluster.worker import BulkJob, ShardWorker, part_name, read_part
from wideresnet.errors import DataError
from wideresnet.records import InferenceSettings, Prediction
from wideresnet.tasks.classify.classify import classify
from wideresnet.tasks.classify.sources import InputImages
from wideresnet.tasks.load.load import open_classifier

pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")

OPERATION = Classify(InferenceSettings(batch_size=4), k=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bulk")
    prepare(folder, 20)                            # one of them is no image
    return folder


def worker_for(folder: Path, output: Path, operation: Classify | Embed = OPERATION) -> ShardWorker:
    bundle = read_bundle(folder / "tiny")
    return ShardWorker(BulkJob(operation, str(output), 1), operation.open(bundle, 1), "node-a")


def shards_of(folder: Path, size: int = 8) -> tuple[Shard, ...]:
    return list_images([str(folder / "photos")], size).shards


def test_the_parts_hold_what_one_machine_answers(folder: Path, tmp_path: Path) -> None:
    worker = worker_for(folder, tmp_path)
    done = [worker.process(shard) for shard in shards_of(folder)]
    assert [(shard.pictures, shard.failures, shard.error) for shard in done] == [(8, 0, ""), (8, 1, ""), (4, 0, "")]
    rows = [row for n in range(3) for row in pq.read_table(tmp_path / part_name(n)).to_pylist()]
    classifier = open_classifier(read_bundle(folder / "tiny"))
    here = list(classify(classifier, InputImages([folder / "photos"]), InferenceSettings(batch_size=4), k=3))
    assert [row["path"] for row in rows if row["rank"] in (1, None)] == [result.path for result in here]
    expected = [s.probability for result in here if isinstance(result, Prediction) for s in result.predictions]
    assert [row["probability"] for row in rows if row["error"] is None] == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == [part_name(n) for n in range(3)]


def test_a_part_has_its_record_and_failures(folder: Path, tmp_path: Path) -> None:
    shard = shards_of(folder)[1]
    done = worker_for(folder, tmp_path).process(shard)
    read, failures = read_part(Store(str(tmp_path)), part_name(1))
    assert read == done
    assert done.engine is not None
    assert done.engine.threads == 1
    assert [Path(failure.path).name for failure in failures] == ["00007.png"]


def test_a_finished_shard_is_not_processed_again(folder: Path, tmp_path: Path) -> None:
    shard = shards_of(folder)[0]
    first = worker_for(folder, tmp_path).process(shard)
    before = (tmp_path / part_name(0)).stat().st_mtime_ns
    again = worker_for(folder, tmp_path)
    again.operation = replace(again.operation, run=None)  # type: ignore[arg-type]
    assert again.process(shard) == first
    assert (tmp_path / part_name(0)).stat().st_mtime_ns == before


def test_a_second_attempt_isolates_crashing_images(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = shards_of(folder)[0]
    undisturbed = worker_for(folder, tmp_path / "whole").process(shard)
    assert undisturbed.attempt == 1
    calls = []

    def crashing(items: object, *_: object) -> set[int]:
        calls.append(items)
        return {2}

    monkeypatch.setattr(module.crash_isolation, "find_crashing_images", crashing)
    begun = tmp_path / "out" / f".{part_name(0)}.begun"
    begun.parent.mkdir()
    begun.write_text("1")                          # as a process that was killed leaves it
    done = worker_for(folder, tmp_path / "out").process(shard)
    assert (done.attempt, done.crashed, done.failures, len(calls)) == (2, 1, 1, 1)
    assert not begun.exists()
    rows = pq.read_table(tmp_path / "out" / part_name(0)).to_pylist()
    others = pq.read_table(tmp_path / "whole" / part_name(0)).to_pylist()
    lost = shard.items[2].path
    assert [row["error"] for row in rows if row["path"] == lost] == [module.crash_isolation.ERROR]
    assert [row for row in rows if row["path"] != lost] == [row for row in others if row["path"] != lost]


def test_an_unwritable_output_is_reported_not_raised(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    done = worker_for(folder, tmp_path / "out").process(shards_of(folder)[0])
    assert done.pictures == 0
    assert "out" in done.error
    assert done.node == "node-a"


def test_a_node_of_another_version_answers_nothing(folder: Path, tmp_path: Path) -> None:
    worker = worker_for(folder, tmp_path)
    worker.job = replace(worker.job, version="0.0.9")
    done = worker.process(shards_of(folder)[0])
    assert done.error == f"wideresnet is {wideresnet.__version__} here, the command 0.0.9"
    assert (done.hint, done.node) == ("install the same on every node", "node-a")
    assert not list(tmp_path.iterdir())


def test_features_have_no_row_for_a_failure(folder: Path, tmp_path: Path) -> None:
    operation = Embed(InferenceSettings(batch_size=4), ("features",))
    done = worker_for(folder, tmp_path, operation).process(shards_of(folder)[1])
    assert (done.pictures, done.failures) == (8, 1)
    assert pq.read_table(tmp_path / part_name(1)).num_rows == 7
    assert len(read_part(Store(str(tmp_path)), part_name(1))[1]) == 1


def test_another_parquet_file_is_not_a_part(tmp_path: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.table({"a": [1]}), tmp_path / part_name(0))
    with pytest.raises(DataError, match="is not a part of a bulk run"):
        read_part(Store(str(tmp_path)), part_name(0))
