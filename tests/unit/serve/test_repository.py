"""The models that a service is told to serve: versions, a folder that changes, loading and unloading on request."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import shutil
import threading
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from fakes import TINY, FakeEngine, calibrated_bundle, tiny_bundle, tiny_cascade, tiny_tensors
from serving import GatedEngine, open_model, png
from wideresnet.bundle import Bundle, make_bundle, write_bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labels import read_labels
from wideresnet.engines import EngineOptions, open_engine
from wideresnet.errors import ConfigError
from wideresnet.images.decode import Limits
from wideresnet.serve.app import make_app
from wideresnet.serve.repository import MAX_FOLDERS, ModelRepository, list_models
from wideresnet.serve.repository_routes import change_model
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.worker import ModelWorker
from wideresnet.weights.read import save_tensors

IMAGE = {"inputs": [{"name": "images", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [0] * 3072}]}
ADMIN = {"Authorization": "Bearer sesame"}


def fake_model(name: str, bundle: Bundle) -> ModelWorker:
    classifier = Classifier(bundle.card, bundle.labels, FakeEngine())
    return ModelWorker(name, classifier, threading.BoundedSemaphore(2), Limits(2**20, 2**20))


def test_requests_name_a_model_and_a_version(bundle: Bundle, make_service: Callable[..., Service]) -> None:
    service = make_service()
    service.set_models({name: fake_model(name, bundle) for name in ("m/10", "m/9", "plain")})
    with TestClient(make_app(service)) as client:
        for query, name in ("", "m/10"), ("?model=m", "m/10"), ("?model=m/9", "m/9"), ("?model=plain/1", "plain"):
            assert client.post(f"/v1/classify{query}", content=png(3)).json()["model"]["name"] == name
        for query, error in (
            ("?model=m/1", "m has no version '1'"), ("?model=m/", "m has no version ''"),
            ("?model=m/9/9", "m has no version '9/9'"), ("?model=plain/2", "plain has no version '2'"),
            ("?model=/9", "no model called ''"), ("?model=", "no model called ''"),
        ):  # fmt: skip
            answer = client.post(f"/v1/classify{query}", content=png(3))
            assert (answer.status_code, answer.json()["detail"]) == (404, error)
        listed = client.get("/v1/models").json()
        assert (listed["default"], [model["name"] for model in listed["models"]]) == ("m/10", ["m/10", "m/9", "plain"])
        for path, version in ("m", "10"), ("m/versions/10", "10"), ("m/versions/9", "9"):
            about = client.get(f"/v2/models/{path}").json()
            assert (about["name"], about["versions"]) == ("m", ["10", "9"])
            assert client.get(f"/v2/models/{path}/ready").json() == {"name": "m", "ready": True}
            assert client.get(f"/v2/models/{path}/config").json()["name"] == "m"
            answer = client.post(f"/v2/models/{path}/infer", json=IMAGE).json()
            assert (answer["model_name"], answer["model_version"]) == ("m", version)
        for version in ("1", "010", "9e0"):
            assert client.post(f"/v2/models/m/versions/{version}/infer", json=IMAGE).status_code == 404
        counts = client.get("/v2/models/m/stats").json()["model_stats"]
        assert [(item["name"], item["version"], item["inference_count"]) for item in counts] == [
            ("m", "10", 4), ("m", "9", 2)
        ]  # fmt: skip
        (count,) = client.get("/v2/models/m/versions/9/stats").json()["model_stats"]
        assert (count["version"], count["inference_stats"]["success"]["count"]) == ("9", 2)
        index = client.post("/v2/repository/index").json()
        assert [(item["name"], item["version"]) for item in index] == [("m", "10"), ("m", "9"), ("plain", "1")]
        document = client.get("/openapi.json").json()
        assert document["components"]["parameters"]["model"]["schema"] == {"enum": ["m", "plain"]}
        assert 'wrn_pictures_total{model="m/9"} 2.0' in client.get("/metrics").text


# The folder


def write_tiny(folder: Path, seed: int = 0) -> str:
    """Write a bundle with weights of its own for each seed; return its graph's hash."""
    plain, architecture = tiny_bundle(), TINY["wrn_10_1"]
    made = make_bundle(architecture, tiny_tensors(architecture, seed), plain.card, read_labels("cifar10"))
    write_bundle(folder, made)
    return made.sha256


def test_bundles_and_numbered_versions_are_models(tmp_path: Path) -> None:
    """Anything else is no model, and is counted; links are followed, and those that lead in circles are none."""
    write_tiny(tmp_path / "plain")
    for version in ("2", "10", "9", "007", "0", "1e3", "-1", "٣", "latest", ".11"):
        (tmp_path / "many" / version).mkdir(parents=True)
    (tmp_path / "many" / "12").write_text("no folder")
    for name in ("empty", "with space", ".hidden", "-minus"):
        (tmp_path / name).mkdir()
    (tmp_path / "README").write_text("no folder")
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "self").symlink_to(tmp_path)
    models, refused, notes = list_models(tmp_path)
    assert models == {
        "empty": {"empty": tmp_path / "empty"},
        "link": {"link": tmp_path / "link"},
        "many": {f"many/{number}": tmp_path / "many" / str(number) for number in (10, 9, 2)},
        "plain": {"plain": tmp_path / "plain"},
        "self": {"self": tmp_path / "self"},
    }
    assert notes == [
        f"not served from {tmp_path / 'many'}, since versions are named 1, 2, 3 …: 6, as '-1'",
    ]
    assert refused == {name: f"{name!r} is not a valid name in a URL" for name in ("-minus", "with space")}
    with pytest.raises(ConfigError, match="is a bundle, not a folder of bundles"):
        list_models(tmp_path / "plain")
    with pytest.raises(ConfigError, match=r"cannot read the model folder .*: No such file"):
        list_models(tmp_path / "none")


def test_a_folder_of_a_thousand_is_cut_and_what_is_served_stays(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"m{number:03}").mkdir()
    models, _, notes = list_models(tmp_path, {"m999"})
    assert set(models) == {"m999", *(f"m{number:03}" for number in range(MAX_FOLDERS - 1))}
    assert notes == [f"{tmp_path} has 1,000 sub-folders: 744 are not looked at"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles are read and checked as ever; a FakeEngine takes no time to compile them."""

    def open_quickly(bundle: Bundle, engine: str, options: EngineOptions) -> Classifier:
        return Classifier(bundle.card, bundle.labels, FakeEngine())

    monkeypatch.setattr("wideresnet.serve.models.open_classifier", open_quickly)


class Site:
    """A service of the folder ``models``, and its log."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.lines = folder, list[str]()
        values = {"models": (), "folder": folder, "admin_token": "sesame", "threads": 1, "streams": 1} | settings
        self.service = Service(ServeSettings(**values), self.lines.append)

    @property
    def hashes(self) -> dict[str, str]:
        return {name: model.identity["graph_sha256"] for name, model in self.service.models.items()}

    def metric(self, text: str) -> float:
        """The value of the one line of /metrics that begins with ``text``."""
        (value,) = re.findall(rf"^{re.escape(text)}\S* (\S+)$", self.service.metrics.render().decode(), re.MULTILINE)
        return float(value)

    def index(self) -> dict[tuple[str, str], tuple[str, str]]:
        with TestClient(make_app(self.service)) as client:
            index = client.post("/v2/repository/index").json()
        return {(item["name"], item["version"]): (item["state"], item.get("reason", "")) for item in index}


def play(site: Site, story: Callable[[httpx2.AsyncClient, ModelRepository], Awaitable[None]]) -> None:
    async def main() -> None:
        transport = httpx2.ASGITransport(make_app(site.service))
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            await site.service.load()
            await story(client, site.service.repository)

    asyncio.run(main())


@pytest.mark.usefixtures("quick")
def test_the_newest_version_is_served_and_an_older_one_while_it_does_not_open(tmp_path: Path) -> None:
    site = Site(tmp_path)
    one, two = (write_tiny(tmp_path / "m" / str(number), number) for number in (1, 2))

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        assert site.hashes == {"m/2": two}
        three = write_tiny(tmp_path / "m" / "3", 3)
        graph = (tmp_path / "m" / "3" / "model.onnx").read_bytes()
        (tmp_path / "m" / "3" / "model.onnx").write_bytes(graph[:1000])
        for _ in range(3):
            await repository.poll()
        assert site.hashes == {"m/2": two}
        (line,) = [line for line in site.lines if "cannot open" in line]
        assert line.startswith(f"cannot open m/3: {tmp_path}/m/3/model.onnx is not the file")
        assert line.endswith("; m/2 stays open")
        assert site.metric('wrn_model_load_failures_total{model="m/3"}') == 1
        assert site.metric('wrn_model_outdated{model="m/3"}') == 1
        assert site.metric('wrn_model_outdated{model="m/2"}') == 0
        (tmp_path / "m" / "3" / "model.onnx").write_bytes(graph)
        await repository.poll()
        assert site.hashes == {"m/3": three}
        assert site.metric('wrn_model_outdated{model="m/3"}') == 0
        shutil.rmtree(tmp_path / "m" / "3")
        await repository.poll()                    # perhaps it is being replaced
        assert site.hashes["m/3"] == three
        await repository.poll()
        assert site.hashes == {"m/2": two}
        shutil.rmtree(tmp_path / "m")
        await site.service.reload()                # SIGHUP is certain
        assert (site.hashes, site.service.ready) == ({}, False)
        answer = await client.post("/v1/classify?model=m", content=png(1))
        assert (answer.status_code, answer.json()["detail"]) == (404, "no model called 'm'")
        assert one

    play(site, story)


@pytest.mark.usefixtures("quick")
def test_several_versions_are_served_on_request(tmp_path: Path) -> None:
    hashes = {f"m/{number}": write_tiny(tmp_path / "m" / str(number), number) for number in (11, 10, 9)}
    site = Site(tmp_path, versions=2)

    async def story(_client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        assert site.hashes == {name: hashes[name] for name in ("m/11", "m/10")}
        (tmp_path / "m" / "11" / "labels.txt").write_text("damaged")
        await repository.poll()
        assert list(site.hashes) == ["m/11", "m/10"]       # it was opened before, and stays
        assert site.index()["m", "11"][0] == "READY"
        assert "labels.txt is not the file" in site.index()["m", "11"][1]

    play(site, story)


@pytest.mark.usefixtures("quick")
def test_a_folder_that_is_renamed_into_place_replaces_a_model(tmp_path: Path) -> None:
    old = write_tiny(tmp_path / "m", 1)
    site = Site(tmp_path)

    async def story(_client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        new = write_tiny(tmp_path / ".m.new", 2)
        await repository.poll()
        worker = site.service.models["m"]
        assert site.hashes == {"m": old}
        (tmp_path / "m").rename(tmp_path / ".m.old")
        await repository.poll()
        assert site.service.models == {"m": worker}        # in the midst of it
        (tmp_path / ".m.new").rename(tmp_path / "m")
        await repository.poll()
        assert site.hashes == {"m": new}
        worker = site.service.models["m"]
        await repository.poll()
        assert site.service.models == {"m": worker}        # nothing changed, nothing was opened
        assert len([line for line in site.lines if line.startswith("opened")]) == 2

    play(site, story)


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_read_leaves_all_models(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    sha256 = write_tiny(folder / "m")
    site = Site(folder)

    async def story(_client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        folder.rename(tmp_path / "away")
        for _ in range(3):
            await repository.poll()
        problem = f"cannot read the model folder {folder}: No such file or directory"
        assert site.lines[1:] == [f"{problem}; the open models stay"]
        assert site.metric('wrn_reloads_total{result="failed"}') == 1
        assert site.hashes == {"m": sha256}
        await site.service.reload()
        assert site.lines[-1].startswith("reload failed, the open models stay: cannot read the model folder")
        (tmp_path / "away").rename(folder)
        await repository.poll()
        assert site.hashes == {"m": sha256}

    play(site, story)
    with pytest.raises(ConfigError, match="cannot read the model folder"):
        asyncio.run(Service(ServeSettings(models=(), folder=tmp_path / "none")).load())


@pytest.mark.usefixtures("quick")
def test_a_folder_whose_name_no_model_can_have_is_in_the_index_and_in_the_error(tmp_path: Path) -> None:
    write_tiny(tmp_path / "m")
    write_tiny(tmp_path / "my cats")
    site = Site(tmp_path)
    reason = "'my cats' is not a valid name in a URL"

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        await repository.poll()
        assert site.index() == {("m", "1"): ("READY", ""), ("my cats", "1"): ("UNAVAILABLE", reason)}
        assert site.lines.count(f"my cats is not served: {reason}") == 1
        done = await client.post("/v1/classify?model=my+cats", content=png(1))
        assert (done.status_code, done.json()["detail"]) == (404, f"my cats is not served: {reason}")
        ready = await client.post("/v2/repository/index", json={"ready": True})
        assert [item["name"] for item in ready.json()] == ["m"]
        for verb in ("load", "unload"):
            done = await client.post(f"/v2/repository/models/my%20cats/{verb}", headers=ADMIN)
            assert done.status_code == 404
        assert site.service.default == "m"
        (tmp_path / "my cats").rename(tmp_path / "cats")
        await repository.poll()
        assert site.index() == {("m", "1"): ("READY", ""), ("cats", "1"): ("READY", "")}

    play(site, story)


@pytest.mark.usefixtures("quick")
def test_a_model_that_cannot_be_read_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permission is denied, as it would be for a user who is not root."""
    scandir = os.scandir

    def guarded(path: Path) -> Any:
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("wideresnet.serve.repository.os.scandir", guarded)
    write_tiny(tmp_path / "m")
    (tmp_path / "secret").mkdir()
    site = Site(tmp_path)

    async def story(_client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        await repository.poll()
        state, reason = site.index()["secret", "1"]
        assert (state, f"{tmp_path / 'secret'} is not a bundle" in reason) == ("UNAVAILABLE", True)
        assert site.lines.count(f"cannot open secret: {reason}; it is not served") == 1
        assert site.index()["m", "1"] == ("READY", "")
        monkeypatch.undo()
        write_tiny(tmp_path / "secret" / "2")
        await repository.poll()
        assert site.index() == {("m", "1"): ("READY", ""), ("secret", "2"): ("READY", "")}
        (tmp_path / "secret" / "2").rename(tmp_path / ".away")
        for _ in range(3):                         # nothing is left in the folder, which is still there
            await repository.poll()
        assert site.index()["secret", "2"] == ("READY", "")
        assert site.index()["secret", "1"][0] == "UNAVAILABLE"

    play(site, story)


@pytest.mark.usefixtures("quick")
def test_without_a_named_model_the_default_never_changes_by_itself(tmp_path: Path) -> None:
    write_tiny(tmp_path / "models" / "m" / "1")
    write_tiny(tmp_path / "models" / "tiny", 7)
    named = write_tiny(tmp_path / "tiny")
    site = Site(tmp_path / "models", models=(f"tiny={tmp_path / 'tiny'}",))
    note = "the folder's tiny is not served: a model of -m has this name"

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        assert list(site.hashes) == ["tiny", "m/1"]
        assert (site.hashes["tiny"], site.lines.count(note), site.service.default) == (named, 1, "tiny")
        await repository.unload_model("tiny")
        answer = await client.post("/v1/classify", content=png(1))
        assert (answer.status_code, answer.json()["detail"]) == (404, "tiny is not served: unloaded")

    play(site, story)
    alone = Site(tmp_path / "models")

    async def story_of_folder(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        answer = await client.post("/v1/classify", content=png(1))
        assert (answer.status_code, answer.json()["detail"]) == (404, "there is no default model")
        assert (await client.get("/v1/models")).json()["default"] is None
        await repository.unload_model("tiny")
        answer = await client.post("/v1/classify", content=png(1))
        assert answer.json()["model"]["name"] == "m/1"

    play(alone, story_of_folder)


def test_cascades_and_calibrated_bundles_are_served_from_a_folder(tmp_path: Path) -> None:
    write_bundle(tmp_path / "sure" / "1", calibrated_bundle(tiny_bundle()))
    write_bundle(tmp_path / "cascade", tiny_cascade())
    site = Site(tmp_path)

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        answer = await client.post("/v1/classify?model=sure", content=png(1))
        assert "p_known" in answer.json()["results"][0]
        assert (await client.post("/v1/classify?model=cascade", content=png(1))).status_code == 200
        (tmp_path / "cascade" / "members" / "1" / "model.onnx").unlink()
        worker = site.service.models["sure/1"]
        await repository.poll()
        assert "model.onnx" in site.index()["cascade", "1"][1]
        assert site.index()["cascade", "1"][0] == "READY"
        assert site.metric('wrn_p_value_images{model="sure/1"}') == 1      # its window goes on
        assert site.service.models["sure/1"] is worker

    play(site, story)


@pytest.mark.usefixtures("quick")
def test_a_folder_of_a_model_hub_is_served_and_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"label_names": list("abcdefghij")}))
    save_tensors(folder / "model.safetensors", tiny_tensors(TINY["wrn_10_1"]), {})
    site = Site(tmp_path)

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        before = site.hashes
        answer = await client.post("/v1/classify", content=png(2))
        assert answer.json()["results"][0]["predictions"][0]["label"] == "c"
        save_tensors(folder / "model.safetensors", tiny_tensors(TINY["wrn_10_1"], 1), {})
        await repository.poll()
        assert (list(site.hashes), site.hashes != before) == (["hub"], True)

    play(site, story)


# Loading and unloading on request


@pytest.fixture
def site(tmp_path: Path, quick: None) -> Site:
    write_tiny(tmp_path / "models" / "m", 1)
    return Site(tmp_path / "models")


def test_control_is_off_without_its_token_and_needs_it(make_service: Callable[..., Service]) -> None:
    with TestClient(make_app(make_service(token="public"))) as client:
        done = client.post("/v2/repository/models/m/load", headers={"Authorization": "Bearer public"})
        assert (done.status_code, "--admin-token-file" in done.json()["error"]) == (404, True)
        assert not [path for path in client.get("/openapi.json").json()["paths"] if path.endswith("load")]
    with TestClient(make_app(make_service(token="public", admin_token="sesame"))) as client:
        for verb in ("load", "unload"):
            path = f"/v2/repository/models/none/{verb}"
            assert path.replace("none", "{model}") in client.get("/openapi.json").json()["paths"]
            for headers in ({}, {"Authorization": "Bearer public"}, {"Authorization": "Basic sesame"}):
                done = client.post(path, headers=headers)
                assert (done.status_code, "the admin token is required" in done.json()["error"]) == (401, True)
            assert client.post(path, headers=ADMIN).status_code == 404
        assert client.get("/v1/models", headers=ADMIN).status_code == 200
        assert client.get("/v1/models", headers={"Authorization": "Bearer public"}).status_code == 200
        assert client.get("/v1/models").status_code == 401
        assert "model_repository" in client.get("/v2", headers=ADMIN).json()["extensions"]
    with TestClient(make_app(make_service(admin_token="sesame"))) as client:
        assert client.get("/v1/models").status_code == 200
        assert client.post("/v2/repository/models/none/load").status_code == 401


def test_a_model_is_unloaded_and_loaded_again(site: Site) -> None:
    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        async def control(verb: str, name: str = "m", **body: Any) -> httpx2.Response:
            return await client.post(f"/v2/repository/models/{name}/{verb}", headers=ADMIN, **body)

        worker = site.service.models["m"]
        done = await control("load")
        assert (done.status_code, done.json()) == (200, {})
        assert site.service.models["m"] is not worker          # opened anew
        for _ in range(2):                                     # also when it is unloaded already
            assert (await control("unload", json={"parameters": {"unload_dependents": True}})).status_code == 200
        assert site.index() == {("m", "1"): ("UNAVAILABLE", "unloaded")}
        assert site.lines.count("m is no longer served") == 1
        await repository.poll()
        assert (site.hashes, site.service.ready) == ({}, False)
        for path in ("/v2/models/m", "/v2/models/m/ready"):
            assert "m is not served: unloaded" in (await client.get(path)).json()["error"]
        done = await client.post("/v1/classify?model=m", content=png(1))
        assert (done.status_code, done.json()["detail"]) == (404, "m is not served: unloaded")
        assert (await client.get("/v2/health/live")).status_code == 200
        assert (await control("load")).status_code == 200
        assert (await client.post("/v1/classify", content=png(1))).status_code == 200
        await control("unload")
        document = (await client.get("/openapi.json")).json()  # what is unloaded can be loaded
        (parameter,) = document["paths"]["/v2/repository/models/{model}/load"]["post"]["parameters"]
        assert "enum" not in document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]["schema"]
        await site.service.reload()                            # SIGHUP: as configured
        assert site.index() == {("m", "1"): ("READY", "")}
        for body, status in (
            ({"json": {"parameters": {"config": "{}"}}}, 422),
            ({"json": {"parameters": {"unload_dependents": True}}}, 422),
            ({"content": b"["}, 400), ({"json": {"other": 1}}, 400), ({"content": b"[" * 99999}, 400),
        ):  # fmt: skip
            assert (await control("load", **body)).status_code == status, body

    play(site, story)


@pytest.mark.parametrize("name", ["none", "..", "%2e%2e%2fm", "m%2f1", ".hidden", "M", "m%00", "%ff", "7" * 5000])
def test_names_that_are_no_models_are_404(site: Site, name: str) -> None:
    write_tiny(site.folder / ".hidden")
    write_tiny(site.folder.parent / "outside")

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        for verb in ("load", "unload"):
            url = httpx2.URL("http://test", raw_path=f"/v2/repository/models/{name}/{verb}".encode())
            assert (await client.post(url, headers=ADMIN)).status_code == 404
        assert list(site.hashes) == ["m"]

    play(site, story)


def test_a_load_goes_on_when_the_call_that_asked_for_it_is_cancelled(site: Site) -> None:
    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        await change_model(site.service, "unload", "m", ())
        load = asyncio.create_task(change_model(site.service, "load", "m", ()))
        await asyncio.sleep(0)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        while not site.hashes:
            await asyncio.sleep(0.005)
        assert site.index() == {("m", "1"): ("READY", "")}

    play(site, story)


def test_a_load_that_fails_leaves_the_open_model(site: Site) -> None:
    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        before = site.hashes
        for damage in ("labels.txt", "card.json"):
            (site.folder / "m" / damage).unlink()
            done = await client.post("/v2/repository/models/m/load", headers=ADMIN)
            assert done.status_code == 400
            assert "cannot load m: " in done.json()["error"]
            assert "/models/m" in done.json()["error"]
            assert site.hashes == before
        assert site.metric('wrn_model_load_failures_total{model="m"}') == 2
        assert site.metric('wrn_model_outdated{model="m"}') == 1
        assert (await client.post("/v1/classify", content=png(1))).status_code == 200

    play(site, story)


def test_a_model_of_the_command_line_is_loaded_again_from_its_place(tmp_path: Path, quick: None) -> None:
    old = write_tiny(tmp_path / "tiny", 1)
    (tmp_path / "models").mkdir()
    site = Site(tmp_path / "models", models=(f"a={tmp_path / 'tiny'}", f"b={tmp_path / 'tiny'}"))

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        new = write_tiny(tmp_path / "tiny", 2)
        assert (await client.post("/v2/repository/models/b/load", headers=ADMIN)).status_code == 200
        assert site.hashes == {"a": old, "b": new}
        await repository.unload_model("b")
        (tmp_path / "tiny" / "model.onnx").unlink()
        assert (await client.post("/v2/repository/models/b/load", headers=ADMIN)).status_code == 400
        assert list(site.hashes) == ["a"]
        write_tiny(tmp_path / "tiny", 2)
        (tmp_path / "models").rename(tmp_path / "elsewhere")
        assert (await client.post("/v2/repository/models/b/load", headers=ADMIN)).status_code == 200
        assert site.hashes == {"a": old, "b": new}
        assert site.service.default == "a"
        other = await client.post("/v2/repository/models/other/load", headers=ADMIN)
        assert (other.status_code, "cannot read the model folder" in other.json()["error"]) == (400, True)

    play(site, story)


def test_a_failed_reload_of_the_command_lines_models_is_a_problem_of_each(tmp_path: Path, quick: None) -> None:
    write_tiny(tmp_path / "tiny")
    (tmp_path / "models").mkdir()
    site = Site(tmp_path / "models", models=tuple(f"{name}={tmp_path / 'tiny'}" for name in "abc"))

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        await repository.unload_model("c")
        (tmp_path / "tiny").rename(tmp_path / "away")
        await site.service.reload()
        outdated = [site.metric(f'wrn_model_outdated{{model="{name}"}}') for name in "abc"]
        assert (outdated, list(site.hashes)) == ([1, 1, 0], ["a", "b"])
        for item in (await client.post("/v2/repository/index")).json():
            reason = "unloaded" if item["name"] == "c" else f"the reload failed: no model at {tmp_path / 'tiny'}"
            assert item["reason"].startswith(reason)
        (tmp_path / "away").rename(tmp_path / "tiny")
        await site.service.reload()
        assert [site.metric(f'wrn_model_outdated{{model="{name}"}}') for name in "abc"] == [0, 0, 0]

    play(site, story)


def test_loads_at_once_wait_for_each_other_and_none_begins_while_draining(site: Site) -> None:
    inside: list[int] = []

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        open_one = repository._open

        async def counted(name: str, source: str) -> None:
            inside.append(1)
            assert len(inside) == 1
            await open_one(name, source)
            inside.pop()

        repository._open = counted                             # type: ignore[method-assign]
        loads = [client.post("/v2/repository/models/m/load", headers=ADMIN) for _ in range(4)]
        done = await asyncio.gather(*loads, repository.poll(), client.post("/v1/classify", content=png(2)))
        assert [answer.status_code for answer in done if answer] == [200] * 5
        assert len([line for line in site.lines if line.startswith("opened")]) == 5
        site.service.admission.draining = True
        done = await client.post("/v2/repository/models/m/load", headers=ADMIN)
        assert (done.status_code, done.headers["retry-after"]) == (503, "5")

    play(site, story)


def test_requests_in_progress_finish_when_their_model_is_unloaded(site: Site, bundle: Bundle) -> None:
    engine = GatedEngine()

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        repository._models = {"m": open_model(bundle, engine)}
        repository._publish()
        inside = asyncio.create_task(client.post("/v1/classify?model=m", content=png(3)))
        while not site.service.admission.images:
            await asyncio.sleep(0.005)
        assert (await client.post("/v2/repository/models/m/unload", headers=ADMIN)).status_code == 200
        assert (await client.post("/v1/classify?model=m", content=png(3))).status_code == 404
        engine.gate.set()
        assert (await inside).json()["results"][0]["predictions"][0]["index"] == 3

    play(site, story)


def test_a_dropped_model_is_freed_though_garbage_collection_leaves_it_out(bundle: Bundle) -> None:
    """The service freezes the objects of its first models: a reference cycle would keep them forever."""
    model = open_model(bundle, open_engine(bundle))
    freed = weakref.ref(model.classifier.engine)
    gc.collect()
    gc.freeze()
    try:
        del model
        assert freed() is None
    finally:
        gc.unfreeze()


# The drill


def test_no_request_is_lost_while_versions_come_and_go(tmp_path: Path) -> None:
    """Real engines; requests without pause, by name and by version, for the model and for one that is removed."""
    models = tmp_path / "models"
    hashes = {1: write_tiny(models / "m" / "1", 1)}
    write_tiny(models / "gone", 9)
    site = Site(models, versions=2)

    async def story(client: httpx2.AsyncClient, repository: ModelRepository) -> None:
        stop = asyncio.Event()
        answers: list[tuple[str, int, str]] = []

        async def ask(model: str) -> None:
            while not stop.is_set():
                done = await client.post(f"/v1/classify?model={model}", content=png(3))
                sha256 = done.json()["model"]["graph_sha256"] if done.status_code == 200 else ""
                answers.append((model, done.status_code, sha256))
                await asyncio.sleep(0)

        async def look(times: int = 2) -> None:
            for _ in range(times):
                await repository.poll()
                seen = len(answers)
                while len(answers) < seen + 6:
                    await asyncio.sleep(0.005)

        tasks = [asyncio.create_task(ask(model)) for model in ("m", "m", "gone")]
        await look()
        for number in (2, 3):                                  # added by copying, file by file
            hashes[number] = write_tiny(tmp_path / "made", number)
            (models / "m" / str(number)).mkdir()
            for file in ("card.json", "labels.txt", "model.onnx"):
                shutil.copy(tmp_path / "made" / file, models / "m" / str(number))
                await look(1)
            assert list(site.hashes) == ["gone", f"m/{number}", f"m/{number - 1}"]
        hashes[4] = write_tiny(models / ".new", 4)             # replaced by renaming
        (models / "m" / "3").rename(models / ".old")
        await look(1)
        (models / ".new").rename(models / "m" / "3")
        await look()
        (models / "m" / "3" / "model.onnx").write_bytes(b"broken")
        await look()
        shutil.rmtree(models / "gone")
        await look()
        shutil.rmtree(models / "m" / "3")
        await look()
        stop.set()
        await asyncio.gather(*tasks)
        assert {code for model, code, _ in answers if model == "m"} == {200}
        served = list(dict.fromkeys(sha256 for model, _, sha256 in answers if model == "m"))
        assert served[:4] == [hashes[1], hashes[2], hashes[3], hashes[4]]
        last = await client.post("/v1/classify?model=m", content=png(3))
        assert last.json()["model"]["graph_sha256"] == hashes[2]
        codes = [code for model, code, _ in answers if model == "gone"]
        assert codes == sorted(codes)                          # 200 until it is removed, 404 from then on
        assert {*codes} == {200, 404}

    play(site, story)


def test_versions_beyond_the_limit_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wideresnet.serve.repository.MAX_FOLDERS", 2)
    for number in range(1, 6):
        (tmp_path / "m" / str(number)).mkdir(parents=True)
    models, _, notes = list_models(tmp_path)
    assert list(models["m"]) == ["m/5", "m/4"]
    assert notes == [f"{tmp_path / 'm'} has 5 versions: the oldest 3 are ignored"]
