"""Bulk jobs on a real Ray cluster of several node processes: the results of one machine, even if a node is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Done, Wrn, prepare, start
from ray_cluster import RayCluster, needs_ray, ray_cluster

pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")

pytestmark = needs_ray
# A cluster of processes and what it begins keep two CPUs busy for minutes.
on_a_cluster = pytest.mark.slow
SHARD = "8"
PATIENCE = 120                                     # seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    prepare(folder, 120)                           # two of them are no images
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster(nodes=3) as own:
        yield own


def on_cluster(folder: Path, *arguments: str) -> Done:
    """Run the command in a child process: in this one, Ray's warnings would be errors."""
    run = start(folder, *arguments, "--shard-size", SHARD, "--cpus", "1", "--format", "json")
    out, err = run.communicate(timeout=PATIENCE)
    return Done(run.returncode, out.decode(), err.decode())


def rows(file: Path) -> list[dict[str, Any]]:
    parts = sorted(file.glob("part-*.parquet")) if file.is_dir() else [file]
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def without_seconds(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in results]


@on_a_cluster
def test_evaluation_on_a_cluster_is_that_of_one_machine(
    wrn: Wrn, folder: Path, tmp_path: Path, cluster: RayCluster
) -> None:
    photos, tiny = str(folder / "photos"), str(folder / "tiny")
    scores, any_order = str(tmp_path / "here.parquet"), "--skip-order-check"
    here = wrn("evaluate", photos, "-m", tiny, "--format", "json", "-o", scores, any_order)
    there = on_cluster(
        tmp_path, "evaluate", f"file://{photos}", "-m", tiny, "-o", f"file://{tmp_path}/there", any_order, "--ray",
        cluster.address,
    )  # fmt: skip
    assert (here.code, there.code) == (1, 1), there.err
    counted = ("n", "correct1", "correct5", "by_class", "confusions", "calibration")
    for key in set(counted) & set(here.json):
        assert json.dumps(there.json[key]).replace("file://", "") == json.dumps(here.json[key]), key
    machine = there.json["counts"]["conditions"]["machine"]
    assert set(machine) == {"shards_of_host", "engines"}, "not those of the machine that asked"
    local, remote = without_seconds(rows(tmp_path / "here.parquet")), without_seconds(rows(tmp_path / "there"))
    assert [{**row, "path": row["path"].removeprefix("file://")} for row in remote] == local


@on_a_cluster
def test_features_on_a_cluster_are_those_of_one_machine(
    wrn: Wrn, folder: Path, tmp_path: Path, cluster: RayCluster
) -> None:
    photos, tiny, layers = str(folder / "photos"), str(folder / "tiny"), ("--layer", "features,layer2")
    assert wrn("embed", photos, "-m", tiny, *layers, "-o", str(tmp_path / "here.parquet")).code == 1
    there = on_cluster(
        tmp_path, "embed", photos, "-m", tiny, *layers, "-o", str(tmp_path / "there"), "--ray", cluster.address
    )
    assert there.code == 1, there.err
    assert there.json["failures"] == 2
    assert rows(tmp_path / "there") == rows(tmp_path / "here.parquet")


@on_a_cluster
def test_a_killed_node_loses_and_duplicates_nothing(
    wrn: Wrn, folder: Path, tmp_path: Path, cluster: RayCluster
) -> None:
    photos, tiny, out = str(folder / "photos"), str(folder / "tiny"), tmp_path / "there"
    arguments = ("classify", photos, "-m", tiny, "-o", str(out), "--ray", cluster.address)
    run = start(tmp_path, *arguments, "--shard-size", SHARD, "--cpus", "1", "--format", "json")
    end = time.monotonic() + PATIENCE
    while len(list(out.glob("part-*"))) < 2 and run.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    cluster.kill_node()
    output, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, errors         # two are no images
    assert json.loads(output)["pictures"] == 120
    assert wrn("classify", photos, "-m", tiny, "-o", str(tmp_path / "here.parquet"), "--format", "parquet").code == 1
    assert rows(out) == rows(tmp_path / "here.parquet")
    again = on_cluster(tmp_path, *arguments)
    assert again.json["kept"] == again.json["shards"] == 15


def test_a_missing_cluster_is_one_error_line(folder: Path, tmp_path: Path) -> None:
    done = on_cluster(tmp_path, "classify", str(folder / "photos"), "--ray", "127.0.0.1:1", "-o", "out")
    assert done.code == 2
    assert "no Ray cluster at '127.0.0.1:1'" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "--ray writes files"),
        (("-o", "out", "--format", "csv"), "--ray writes Parquet"),
        (("-o", "out", "--dedupe"), "--ray writes Parquet"),
    ],
)
def test_unsupported_options_are_refused_first(wrn: Wrn, folder: Path, more: tuple[str, ...], message: str) -> None:
    done = wrn("classify", str(folder / "photos"), "-m", str(folder / "tiny"), "--ray", "local", *more)
    assert done.code == 2
    assert message in done.err
