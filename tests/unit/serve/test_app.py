"""The routes over a fake engine: responses, and errors of invalid requests."""

from __future__ import annotations

import asyncio
import base64
import html
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from typer.main import get_command

from fakes import FakeEngine, tiny_bundle
from serving import NAME, GatedEngine, open_model, png, run, until
from tiffs import tiff
from wideresnet.architectures import with_variant, wrn
from wideresnet.cli.main import app
from wideresnet.serve.app import _parse, make_app
from wideresnet.serve.http.middleware import PUBLIC_PATHS
from wideresnet.serve.inference import LARGE, parse_in_turn

MULTIPART = {"Content-Type": "multipart/form-data; boundary=xyz"}


def labels(result: dict) -> list[int]:
    return [prediction["index"] for prediction in result["predictions"]]


# Classify


def test_a_bare_image_gets_classes_and_the_models_identity(client) -> None:
    answer = client.post("/v1/classify?k=3", content=png(4)).json()
    assert labels(answer["results"][0]) == [4, 3, 5]
    assert answer["results"][0]["predictions"][0]["label"] == "deer"
    assert answer["model"]["name"] == NAME
    assert answer["model"]["engine"]["runtime"] == "fake"
    assert set(answer["milliseconds"]) == {"read", "decode", "wait", "infer", "total"}
    assert answer["milliseconds"]["total"] >= answer["milliseconds"]["infer"]


def test_labels_are_translated_where_there_is_a_translation(client) -> None:
    answer = client.post("/v1/classify?k=1&lang=zh", content=png(3)).json()
    assert answer["results"][0]["predictions"][0]["label"] == "猫"


def test_several_files_are_answered_in_order_with_the_error_of_an_unreadable_one(client) -> None:
    files = [("a", ("one.png", png(1))), ("a", ("二.png", b"none")), ("b", ("three.png", png(7)))]
    done = client.post("/v1/classify", files=files)
    assert done.status_code == 200
    first, second, third = done.json()["results"]
    assert (labels(first)[0], labels(third)[0]) == (1, 7)
    assert second == {"name": "二.png", "error": "not an image but text", "hint": second["hint"]}
    assert [first["name"], third["name"]] == ["one.png", "three.png"]


def test_exif_orientation_is_applied(client, monkeypatch) -> None:
    orientations = []
    monkeypatch.setattr(
        "wideresnet.images.crops.decode_crops",
        lambda _data, _spec, exif, *_: ((orientations.append(exif) or FakeEngine().image(0),), (8, 8)),
    )
    assert client.post("/v1/classify", content=png(1)).status_code == 200
    assert orientations == ["transpose"]


def test_when_no_image_can_be_read_it_is_400(client) -> None:
    done = client.post("/v1/classify", content=b"none")
    assert done.status_code == 400
    assert done.headers["content-type"] == "application/problem+json"
    assert done.json()["detail"] == "not an image but text"
    assert done.json()["hint"].startswith("give an image")
    several = client.post("/v1/classify", files=[("a", ("1", b"none")), ("a", ("2", b""))])
    assert several.status_code == 400
    assert len(several.json()["results"]) == 2


def test_an_image_of_metres_is_400_with_its_range(client) -> None:
    """Heights in metres are no brightness: the error states their range, not "damaged"."""
    done = client.post("/v1/classify", content=tiff(np.full((8, 8, 1), 812.5, np.float32)))
    assert done.status_code == 400
    assert done.json()["detail"] == "the image holds float32 values from 812.5 to 812.5, outside 0..1"
    assert "gdal_translate" in done.json()["hint"]


def test_a_very_wide_image_is_answered(client) -> None:
    """5000 pixels wide and one high, as torchvision crops it."""
    file = io.BytesIO()
    Image.new("RGB", (5000, 1), "white").save(file, "PNG")
    done = client.post("/v1/classify?k=1", content=file.getvalue())
    assert labels(done.json()["results"][0]) == [9]


@pytest.mark.parametrize(
    ("query", "content", "headers", "status", "detail"),
    [
        ("?k=0", b"x", {}, 422, "k must be"),
        ("?k=101", b"x", {}, 422, "k must be"),
        ("?k=1_0", b"x", {}, 422, "k must be"),
        ("?k=000000005" + "9" * 5000, b"x", {}, 422, "k must be"),
        ("?k=00000000599999999", b"x", {}, 422, "k must be"),
        ("?lang=fr", b"x", {}, 422, "no labels in 'fr'"),
        ("?model=../../etc/passwd", b"x", {}, 404, "no model called"),
        ("?model=wrn_10_1.tin", b"x", {}, 404, "no model called"),
        ("", b"{}", {"Content-Type": "application/json"}, 415, "application/json"),
        ("", b"x", {"Content-Encoding": "gzip"}, 415, "compressed"),
        ("", b"x", {"Content-Encoding": "Identity"}, 400, "not an image"),
        ("", b"x", {"Content-Type": "multipart/form-data"}, 400, "boundary"),
        ("", b"--abc\r\n", MULTIPART, 400, "damaged"),
        ("", b"--xyz\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\nx", MULTIPART, 400, "cut short"),
        ("", b"--xyz\r\nContent-Disposition: form-data; name=k\r\n\r\n5\r\n--xyz--\r\n", MULTIPART, 422, "'k'"),
        ("", b"--xyz--\r\n", MULTIPART, 422, "no file in the multipart body"),
    ],
)  # fmt: skip
def test_invalid_requests_get_their_status_and_message(client, query, content, headers, status, detail) -> None:
    done = client.post(f"/v1/classify{query}", content=content, headers=headers)
    assert done.status_code == status
    assert detail in done.json()["detail"]
    assert done.json()["status"] == status


# What clients really send


def damaged_by_curl(data: bytes) -> bytes:
    """Return a file as ``curl -d @FILE`` sends it."""
    return data.translate(None, b"\r\n\0")


def jpeg(**options: object) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "image/jpeg", ""])
@pytest.mark.parametrize(
    "data",
    [damaged_by_curl(png(1)), damaged_by_curl(jpeg()), jpeg(progressive=True).translate(None, b"\r\n")],
    ids=["PNG", "JPEG", "progressive JPEG with its zero bytes"],
)
def test_a_file_that_curl_d_stripped_is_refused_and_the_hint_names_data_binary(client, kind, data) -> None:
    """An image without its line breaks is refused, even if the decoder accepts it."""
    done = client.post("/v1/classify", content=data, headers={"Content-Type": kind} if kind else {})
    assert done.status_code == 400
    assert "curl -d" in done.json()["hint"]
    assert "--data-binary" in done.json()["hint"]


def test_data_binary_is_answered_though_curl_sends_a_forms_content_type(client) -> None:
    """``curl --data-binary`` sends the same Content-Type as ``curl -d``, and its images are read."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/v1/classify", content=png(4), headers=headers).status_code == 200
    damaged = client.post("/v1/classify", content=jpeg()[:5000], headers=headers).json()
    assert "fetch it again" in damaged["hint"]


BASE64 = base64.b64encode(png(1))


@pytest.mark.parametrize(
    ("body", "kind", "status", "hint"),
    [
        (BASE64, "", 400, "base64 -d"),
        (b'"' + BASE64 + b'"', "", 400, "base64 -d"),
        (b"data:image/png;base64," + BASE64, "", 400, "base64 -d"),
        (BASE64, "text/plain", 415, "--data-binary"),
        (b'{"image": "%s"}' % BASE64, "application/json", 415, "POST /v2/models/MODEL/infer"),
        (b'{"instances": [{"b64": "%s"}]}' % BASE64, "", 400, "POST /v2/models/MODEL/infer"),
        (b"image=%40cat.jpg", "application/x-www-form-urlencoded", 400, "--data-binary"),
        (b"", "", 400, "--data-binary"),
        (png(1), "multipart/form-data", 400, "curl -F file=@FILE"),
        (png(1), "multipart/mixed; boundary=a", 415, "curl -F file=@FILE"),
    ],
)
def test_other_ways_to_send_an_image_get_a_hint(client, body, kind, status, hint) -> None:
    """Base64, JSON and forms get a 4xx whose hint says what to send."""
    done = client.post("/v1/classify", content=body, headers={"Content-Type": kind} if kind else {})
    assert done.status_code == status
    assert hint in done.json()["hint"]


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/explain"])
def test_a_text_field_named_as_a_parameter_is_refused(client, path) -> None:
    """A parameter in the body would have no effect: the hint moves it into the URL."""
    done = client.post(path, files=[("file", ("a.png", png(1)))], data={"k": "3"})
    assert done.status_code == 422
    assert "'k' would have no effect" in done.json()["detail"]
    assert "?k=VALUE" in done.json()["hint"]


def test_other_text_fields_are_ignored_and_listed(client) -> None:
    """A caption beside the file has no effect, and the response says so."""
    answer = client.post("/v1/classify", files=[("file", ("a.png", png(6)))], data={"caption": "a cat", "id": "7"})
    assert labels(answer.json()["results"][0])[0] == 6
    assert sorted(answer.json()["ignored_fields"]) == ["caption", "id"]
    assert "ignored_fields" not in client.post("/v1/classify", content=png(6)).json()


def test_a_form_without_the_at_sign_gets_a_hint(client) -> None:
    """``curl -F file=cat.jpg`` sends a name instead of a file."""
    body = b'--xyz\r\nContent-Disposition: form-data; name="file"\r\n\r\ncat.jpg\r\n--xyz--\r\n'
    done = client.post("/v1/classify", content=body, headers=MULTIPART)
    assert done.status_code == 422
    assert "only the text fields file" in done.json()["detail"]
    assert "with the @" in done.json()["hint"]


# Queries, methods and paths


def every_route(client) -> list[tuple[str, str]]:
    """The method and the path of each route, with a model's name and version in it."""
    routes = []
    for route in client.app._app.routes:
        path = route.path.replace("{model}", NAME).replace("{version}", "1")
        routes.append((min(route.methods - {"HEAD"}), path))
    return routes


def test_every_route_refuses_unknown_parameters(client) -> None:
    """``?topk=3`` is an error; only probes and files of the page ignore queries."""
    for method, path in every_route(client):
        done = client.request(method, f"{path}?topk=3", content=png(1) if method == "POST" else None)
        assert done.status_code == (200 if path in PUBLIC_PATHS else 422), path
        if path not in PUBLIC_PATHS:
            assert "has no parameter 'topk'" in done.text
    assert "it takes k, model, lang" in client.post("/v1/classify?K=3", content=png(1)).json()["hint"]


@pytest.mark.parametrize("query", ["k=1&k=2", "k=1&k=1", "lang=en&lang=zh", f"model={NAME}&model={NAME}"])
def test_a_parameter_given_twice_is_refused(client, query) -> None:
    """Repeated parameters are errors; only a class may be repeated."""
    done = client.post(f"/v1/classify?{query}", content=png(1))
    assert done.status_code == 422
    assert "is given 2 times" in done.json()["detail"]


def test_every_route_lists_its_methods(client) -> None:
    """A 405 carries Allow, and HEAD works wherever GET does."""
    for method, path in every_route(client):
        allowed = "GET, HEAD" if method == "GET" else "POST"
        refused = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - set(allowed.split(", "))
        for method_ in refused:
            done = client.request(method_, path)
            assert (done.status_code, done.headers["allow"]) == (405, allowed), (method_, path)
        if method == "GET":
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (get.status_code, b"")
            assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("PUT", "/v1/classify/cat.jpg", "--data-binary"),
        ("POST", f"/v1/models/{NAME}:predict", "POST /v1/classify"),
        ("POST", f"/predictions/{NAME}", "POST /v1/classify"),
        ("POST", f"/v2/models/{NAME}/generate", "POST /v2/models/MODEL/infer"),
        ("POST", f"/v2/repository/models/{NAME}/load", "--admin-token-file FILE"),
        ("GET", "/v2/systemsharedmemory/status", "POST /v2/models/MODEL/infer"),
        ("GET", f"/v2/models/{NAME}/trace/setting", "GET /metrics"),
        ("GET", "/v2/logging", "wrn serve --log json"),
        ("GET", "/nothing", "GET /docs"),
    ],
)
def test_a_path_of_another_server_gets_a_hint(client, method, path, hint) -> None:
    """Clients of other servers get a 404 with the route to use."""
    done = client.request(method, path)
    assert done.status_code == 404
    assert hint in done.text


def test_a_model_without_maps_is_a_wrong_parameter(make_service) -> None:
    """Maps exist for a mean over positions; a maximum is the model's, and naming another one helps."""
    service = make_service()
    service.set_models({NAME: open_model(tiny_bundle(with_variant(wrn(10, 1), {"pool": "max"})), FakeEngine())})
    with TestClient(make_app(service)) as client:
        done = client.post("/v1/explain", content=png(1))
        assert client.post("/v1/classify", content=png(1)).status_code == 200
    assert done.status_code == 422
    assert done.json()["detail"] == f"no maps of {NAME}: its pooling is max"
    assert "pool avg" in done.json()["hint"]


def test_every_hint_names_what_can_be_typed(client) -> None:
    """Every 4xx has a hint, and its routes and options exist."""
    routes = {(method, path.replace(NAME, "MODEL")) for method, path in every_route(client)}
    options = {option for parameter in get_command(app).commands["serve"].params for option in parameter.opts}
    infer = f"/v2/models/{NAME}/infer"
    requests = [
        *(("POST", f"/v1/classify{query}", b"x", {}) for query in ("?k=0", "?lang=fr", "?model=a", "?a=1", "?k=1&k=1")),
        *(("POST", "/v1/explain" + query, b"x", {}) for query in ("?class=a", "?k=11", "?class=1" + "&class=1" * 10)),
        *(("POST", "/v1/classify", body, {}) for body in (b"", b"text", b"{}", BASE64, damaged_by_curl(png(1)))),
        *(("POST", "/v1/classify", body, MULTIPART) for body in (b"", b"--abc", b"--xyz\r\n", b"--xyz--\r\n")),
        ("POST", "/v1/classify", b"x", {"Content-Type": "multipart/form-data"}),
        ("POST", "/v1/classify", b"x", {"Content-Type": "text/plain"}),
        ("POST", "/v1/classify", b"x", {"Content-Encoding": "gzip"}),
        ("POST", infer, b"x", {"Content-Encoding": "gzip"}),
        ("POST", infer, b"x", {"Content-Encoding": "br"}),
        *(("POST", infer, body, {}) for body in (b"", b"{}", png(1), b'{"inputs": []}')),
        ("POST", "/v2/repository/index", b"[]", {}),
        ("GET", f"/v2/models/{NAME}/versions/2", None, {}),
        ("GET", "/v1/classify", None, {}),
        ("GET", "/nothing", None, {}),
        ("PUT", "/nothing", None, {}),
        ("GET", "/v2/logging", None, {}),
        ("POST", "/v2/repository/models/a/load", None, {}),
    ]
    for method, path, body, headers in requests:
        done = client.request(method, path, content=body, headers=headers)
        assert 400 <= done.status_code < 500, path
        document = done.json()
        hint = document.get("hint") or (document.get("error", "")[:-1].partition("(")[2])
        assert hint, (method, path, body, document)
        for named in re.findall(r"(GET|POST) (/\S*[^\s:;,])", hint):
            assert named in routes, hint
        for option in re.findall(r"wrn serve (--?[\w-]+)", hint):
            assert option in options, hint
        assert set(re.findall(r"curl (-\S+)", hint)) <= {"-d", "-F", "--data-binary"}


# Limits


def test_limits_on_bytes_files_and_pixels(make_service) -> None:
    with TestClient(make_app(make_service(max_bytes=1000, max_images=2))) as client:
        announced = client.post("/v1/classify", content=bytes(1001))
        streamed = client.post("/v1/classify", content=iter([bytes(600)] * 9))
        assert (announced.status_code, streamed.status_code) == (413, 413)
        assert streamed.headers["connection"] == "close"
        three = client.post("/v1/classify", files=[("a", ("1", b"x"))] * 3)
        assert three.status_code == 413
        assert "more than 2 images" in three.json()["detail"]
        assert client.post("/v1/classify", content=png(1)).status_code == 200


def test_other_paths_and_methods(client) -> None:
    assert client.get("/etc/passwd").status_code == 404
    assert client.get("/v1/classify/").json()["type"] == "urn:wideresnet:problem:route"
    assert client.get("/v1/classify").status_code == 405
    assert client.get("/v2/nothing").json() == {"error": "no such path (GET /docs lists all routes)"}


# Faults


class Broken:
    info = FakeEngine().info

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, batch):
        raise self.error


@pytest.mark.parametrize("error", [ValueError("secret"), MemoryError(), SystemExit(3)])
def test_a_crash_in_a_worker_fails_one_request_only(make_service, caplog, error) -> None:
    service = make_service(Broken(error))
    with TestClient(make_app(service)) as client:
        done = client.post("/v1/classify", content=png(1), headers={"X-Request-ID": "my-1"})
        assert done.status_code == 500
        assert "secret" not in done.text
        assert "my-1" in caplog.text
        assert client.post(f"/v2/models/{NAME}/infer", json=images(1)).status_code == 500
        assert client.get("/healthz").status_code == 200
        assert (service.admission.images, service.admission.requests, service.admission.bytes) == (0, 0, 0)


def images(label: int, count: int = 1) -> dict:
    data = [FakeEngine().image(label).tolist()] * count
    return {"inputs": [{"name": "images", "shape": [count, 32, 32, 3], "datatype": "UINT8", "data": data}]}


# The Open Inference Protocol


def test_the_metadata_of_the_protocol(client) -> None:
    extensions = ["binary_tensor_data", "classification", "model_configuration", "statistics"]
    assert client.get("/v2").json()["extensions"] == extensions
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    for path in (f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/1"):
        about = client.get(path).json()
        assert about["inputs"][0] == {"name": "images", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}
        assert about["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}]
        assert client.get(f"{path}/ready").status_code == 200
    for path in ("/v2/models/other", f"/v2/models/{NAME}/versions/2", f"/v2/models/{NAME}/versions/2/ready"):
        assert client.get(path).status_code == 404
        assert "error" in client.get(path).json()


def test_a_tensor_as_json_gets_its_logits(client) -> None:
    answer = client.post(f"/v2/models/{NAME}/infer", json=images(6, count=11) | {"id": "7"}).json()
    (output,) = answer["outputs"]
    assert (answer["id"], answer["model_name"], output["shape"]) == ("7", NAME, [11, 10])
    assert output["data"] == [-abs(float(index - 6)) for index in range(10)] * 11


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"), ("deflate, gzip;q=0.5", "gzip"), ("gzip;q=0", None), ("gzip; Q=0.000, deflate", "deflate"),
        ("gzip;q=0.001", "gzip"), ("identity", None), ("deflate;q=1.0,GZIP ; q=0", "deflate"),
    ],
)  # fmt: skip
def test_a_response_has_no_encoding_that_its_client_does_not_accept(client, accepted, encoding) -> None:
    done = client.post(f"/v2/models/{NAME}/infer", json=images(6, count=50), headers={"Accept-Encoding": accepted})
    assert done.headers.get("content-encoding") == encoding
    assert done.json()["outputs"][0]["shape"] == [50, 10]


def test_an_unreadable_image_fails_a_request_of_the_protocol(client) -> None:
    wrong = {"inputs": [{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": ["bm9uZQ=="]}]}
    done = client.post(f"/v2/models/{NAME}/infer", json=wrong)
    assert done.status_code == 400
    assert done.json()["error"].startswith("image 0: not an image but text (")


def test_the_configuration_matches_the_metadata(client) -> None:
    """Triton's form of it has the same names, types and sizes, without the batch."""
    for path in (f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/1"):
        about, config = client.get(path).json(), client.get(f"{path}/config").json()
        assert config["max_batch_size"] == 64
        for key, tensors in (("inputs", config["input"]), ("outputs", config["output"])):
            assert [tensor["name"] for tensor in tensors] == [tensor["name"] for tensor in about[key]]
        assert config["input"][0]["dims"] == about["inputs"][0]["shape"][1:] == [32, 32, 3]
        assert config["output"][0] == {"name": "logits", "data_type": "TYPE_FP32", "dims": [10]}
    assert client.get("/v2/models/other/config").status_code == 404


def test_the_repository_lists_the_models(make_service) -> None:
    """Each with its state; ``ready`` lists ready models only; any other body is refused."""
    service = make_service()
    with TestClient(make_app(service)) as client:
        expected = [{"name": NAME, "version": "1", "state": "READY"}]
        assert client.post("/v2/repository/index").json() == expected
        assert client.post("/v2/repository/index", json={"ready": True}).json() == expected
        for body in (b"{", b"[]", b'{"other": true}', b'{"ready": 1}', b"[" * 9000):
            assert client.post("/v2/repository/index", content=body).status_code == 400
        service.admission.draining = True
        (model,) = client.post("/v2/repository/index").json()
        assert (model["state"], bool(model["reason"])) == ("UNAVAILABLE", True)
        assert client.post("/v2/repository/index", json={"ready": True}).json() == []


def test_statistics_count_requests_and_images(client) -> None:
    """Images, runs of the engine, requests and times of one model; unmeasured values are 0."""
    client.post("/v1/classify", content=png(1))
    client.post("/v1/classify", files=[("a", ("1", png(1))), ("a", ("2", b"none"))])
    client.post("/v1/classify", content=b"none")
    client.post(f"/v2/models/{NAME}/infer", json=images(1, count=11))
    client.post(f"/v2/models/{NAME}/infer", json={})
    for path in ("/v2/models/stats", f"/v2/models/{NAME}/stats", f"/v2/models/{NAME}/versions/1/stats"):
        (document,) = client.get(path).json()["model_stats"]
        assert (document["name"], document["version"], document["inference_count"]) == (NAME, "1", 13)
        assert 3 <= document["execution_count"] <= 4
        counts = {name: stage["count"] for name, stage in document["inference_stats"].items()}
        assert counts == {
            "success": 3, "fail": 2, "queue": 4, "compute_input": 4, "compute_infer": 4, "compute_output": 0,
            "cache_hit": 0, "cache_miss": 0,
        }  # fmt: skip
        times = {name: stage["ns"] for name, stage in document["inference_stats"].items()}
        assert times["success"] > times["compute_infer"] > 0
        assert times["compute_output"] == 0
        assert abs(document["last_inference"] / 1000 - time.time()) < 60
    assert client.get("/v2/models/other/stats").status_code == 404


# Around


def test_before_the_models_are_open_it_is_live_but_not_ready(make_service) -> None:
    service = make_service()
    service.set_models({})
    with TestClient(make_app(service)) as client:
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 503
        done = client.post("/v1/classify", content=png(1))
        assert (done.status_code, done.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(("size", "parallel"), [(LARGE + 1, False), (LARGE, True)])
def test_large_json_is_parsed_for_one_request_at_a_time(make_service, monkeypatch, size, parallel) -> None:
    """Parsing holds the interpreter lock; small bodies do not wait for large ones."""
    running, most = [], []

    def parse(*_arguments: object) -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.1)
        running.pop()

    monkeypatch.setattr("wideresnet.serve.protocol.parse_request", parse)
    service = make_service()

    async def parse_all() -> None:
        await asyncio.gather(*(_parse(service, bytes(size), None, service.models[NAME]) for _ in range(3)))

    asyncio.run(parse_all())
    assert (max(most) > 1) is parallel


def test_the_deadline_covers_the_turn_of_a_large_body(make_service) -> None:
    service, engine = make_service(deadline=0.6), GatedEngine()
    service.set_models({NAME: open_model(tiny_bundle(), engine)})
    tensor = {"name": "images", "shape": [9, 32, 32, 3], "datatype": "UINT8", "data": [100] * (9 * 32 * 32 * 3)}

    async def story(client: httpx2.AsyncClient) -> None:
        async def send() -> float:
            started = time.perf_counter()
            async with asyncio.timeout(20):
                answer = await client.post(f"/v2/models/{NAME}/infer", json={"inputs": [tensor]})
            assert (answer.status_code, "within 0.6 seconds" in answer.json()["error"]) == (504, True)
            return time.perf_counter() - started

        await service.json_turn.acquire()
        first = await send()
        assert not engine.begun.acquire(blocking=False)
        later = asyncio.create_task(send())
        await asyncio.sleep(0.5)
        service.json_turn.release()                # the engine then has what is left of the deadline
        assert max(first, await later) < 1
        engine.gate.set()

    run(service, story)


def test_the_turn_of_a_client_that_left_ends_with_its_thread(make_service) -> None:
    """Else clients that cancel have any number of large bodies parsed at a time."""
    running, most, service = [], [], make_service()
    gate = threading.Event()

    def parse() -> None:
        running.append(1)
        most.append(len(running))
        gate.wait(20)
        running.pop()

    async def story() -> None:
        first = asyncio.create_task(parse_in_turn(service, LARGE + 1, parse))
        await until(lambda: running)
        first.cancel()
        second = asyncio.create_task(parse_in_turn(service, LARGE + 1, parse))
        await asyncio.sleep(0.3)
        gate.set()
        await second

    asyncio.run(story())
    assert most == [1, 1]


@pytest.mark.parametrize("query", ["?class=" + "9" * 5000, "?k=000000005" + "9" * 5000])
def test_long_numbers_are_refused_by_explain(client, query) -> None:
    """Not a 500: Python refuses to convert more than 4,300 digits."""
    assert client.post(f"/v1/explain{query}", content=png(1)).status_code == 422


def test_only_allowed_hosts_are_answered(make_service) -> None:
    """With --allow-host, other names get 421, except from probes, which use addresses of containers."""
    with TestClient(make_app(make_service(allow_host=("Wrn.Example", "[::1]")))) as client:

        def status(path: str, host: str) -> int:
            return client.get(path, headers={"Host": host}).status_code

        for host in ("wrn.example", "WRN.EXAMPLE:8000", "[::1]:80"):
            assert status("/v1/models", host) == 200
        for path in ("/v1/models", "/v2", "/", "/docs", "/metrics", "/nothing"):
            for host in ("rebound.example", "wrn.example.org", "", "[::2]"):
                assert status(path, host) == 421
        assert status("/healthz", "10.0.0.7:8000") == 200
        problem = client.get("/v1/models", headers={"Host": "rebound.example:80"}).json()
        assert problem["type"] == "urn:wideresnet:problem:host"
        assert problem["detail"] == "the host 'rebound.example' is not allowed"


def test_a_draining_service_closes_connections(make_service) -> None:
    """Each response says so, also a 200."""
    service = make_service()
    with TestClient(make_app(service)) as client:
        assert "connection" not in client.get("/healthz").headers
        service.admission.draining = True
        assert client.get("/healthz").headers["connection"] == "close"
        assert client.post("/v1/classify", content=png(1)).headers["connection"] == "close"


def test_a_draining_service_admits_no_request(make_service) -> None:
    service = make_service()
    service.admission.draining = True
    with TestClient(make_app(service)) as client:
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get(f"/v2/models/{NAME}/ready").status_code == 503
        assert client.post("/v1/classify", content=png(1)).json()["type"] == "urn:wideresnet:problem:draining"


@pytest.fixture
def guarded(make_service) -> Iterator[TestClient]:
    with TestClient(make_app(make_service(token="sesame"))) as client:
        yield client


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic sesame", "Bearer", "sesame", "Bearer sésame"])
def test_without_the_token_only_probes_and_documents_are_open(guarded, authorization) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    for path in ("/v1/models", "/v2", "/metrics", "/v1/nothing"):
        done = guarded.get(path, headers=headers)
        assert (done.status_code, done.headers["www-authenticate"]) == (401, "Bearer")
    assert guarded.post("/v1/classify", content=png(1), headers=headers).status_code == 401
    for path in ("/healthz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"):
        assert guarded.get(path, headers=headers).status_code == 200


def test_with_the_token_all_routes_are_open(guarded) -> None:
    assert guarded.get("/v1/models", headers={"Authorization": "Bearer sesame"}).status_code == 200
    assert "sesame" not in guarded.get("/openapi.json").text
    assert NAME not in guarded.get("/openapi.json").text


def test_a_header_that_counts_once_is_refused_twice(guarded) -> None:
    """One of two tokens, labels or lengths would be ignored in silence, and gRPC took the last, HTTP the first."""
    token = ("Authorization", "Bearer sesame")
    for headers in [token, token], [token, ("Authorization", "Bearer no")], [token, ("X-Label", "3"), ("X-Label", "4")]:
        done = guarded.post("/v1/classify", content=png(3), headers=headers)
        assert (done.status_code, "is given 2 times" in done.json()["detail"]) == (400, True), done.text
    done = guarded.post("/v1/classify", content=png(3), headers=[token, ("X-Other", "1"), ("X-Other", "2")])
    assert done.status_code == 200


def test_a_member_given_twice_is_refused_when_a_model_is_loaded(make_service) -> None:
    client = TestClient(make_app(make_service(admin_token="admin")))
    body = b'{"parameters": {"config": "{}"}, "parameters": {}}'
    headers = {"Authorization": "Bearer admin"}
    done = client.post(f"/v2/repository/models/{NAME}/load", content=body, headers=headers)
    assert (done.status_code, "given twice" in done.json()["error"]) == (400, True), done.text


def test_other_origins_are_refused_unless_named(client, make_service) -> None:
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/v1/classify", headers=asks).headers
    service = make_service(cors=("https://a.example",), token="sesame")
    with TestClient(make_app(service)) as open_:
        preflight = open_.options("/v1/classify", headers=asks)
        refused = open_.post("/v1/classify", content=png(1), headers={"Origin": asks["Origin"]})
        assert (preflight.status_code, refused.status_code) == (200, 401)
        for answer in (preflight, refused):        # the page of another origin reads the error
            assert answer.headers["access-control-allow-origin"] == asks["Origin"]
            assert answer.headers["x-request-id"]
        assert "X-Request-ID" in refused.headers["access-control-expose-headers"]
    assert b'wrn_requests_total{model="",route="other",status="200"} 1.0' in service.metrics.render()


def test_every_response_has_an_id_and_security_headers(client) -> None:
    for path in ("/docs", "/v1/nothing"):
        headers = client.get(path, headers={"X-Request-ID": "abc-1"}).headers
        assert headers["x-request-id"] == "abc-1"
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "script-src 'self';" in headers["content-security-policy"]
    assert client.get("/docs", headers={"X-Request-ID": "a\tb c"}).headers["x-request-id"].isalnum()


def test_the_access_log_has_a_line_for_each_request_and_no_token(make_service) -> None:
    lines: list[str] = []
    service = make_service(log="json", token="sesame")
    service._write = lines.append
    service.log_message("hello")
    with TestClient(make_app(service)) as client:
        client.post("/v1/classify", content=png(1), headers={"Authorization": "Bearer sesame", "X-Request-ID": "a"})
    message, line = map(json.loads, lines)
    assert message["message"] == "hello"
    assert (line["id"], line["status"], line["pictures"], line["bytes"]) == ("a", 200, 1, len(png(1)))
    assert "sesame" not in lines[1]


def test_a_body_that_is_sent_as_it_is_counts_once(make_service) -> None:
    lines: list[str] = []
    service, body = make_service(log="json"), json.dumps(images(1)).encode()
    service._write = lines.append
    with TestClient(make_app(service)) as client:
        done = client.post(f"/v2/models/{NAME}/infer", content=body, headers={"Content-Encoding": "Identity"})
    assert (done.status_code, json.loads(lines[-1])["bytes"]) == (200, len(body))


def test_counters_of_the_recommended_alerts_begin_at_zero(client) -> None:
    """Prometheus' increase() needs a value before the first fault."""
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text("utf-8")
    names, page = re.findall(r"(?:increase|rate)\((wrn_\w+\{.*?\})\[", text), client.get("/metrics").text
    assert len(names) == 4
    assert [name for name in names if f"\n{name} 0.0\n" not in page] == []


def test_metrics_count_by_route_model_and_status(client) -> None:
    client.post("/v1/classify", content=png(1))
    client.post("/v1/classify", content=b"none")
    client.get("/no/such/path")
    page = client.get("/metrics").text
    assert f'wrn_requests_total{{model="{NAME}",route="/v1/classify",status="200"}} 1.0' in page
    assert f'wrn_requests_total{{model="{NAME}",route="/v1/classify",status="400"}} 1.0' in page
    assert 'wrn_requests_total{model="",route="other",status="404"} 1.0' in page
    assert 'wrn_failures_total{kind="picture"} 1.0' in page
    assert f'wrn_stage_seconds_count{{model="{NAME}",stage="decode"}} 2.0' in page
    assert f'wrn_pictures_total{{model="{NAME}"}} 2.0' in page
    assert 'wrn_model_info{architecture="wrn_10_1"' in page
    assert "wrn_queue_depth 0.0" in page


def test_only_stages_that_ran_are_observed(client) -> None:
    """A damaged image was decoded in vain, and never inferred."""
    assert client.post("/v1/classify", content=png(1)).status_code == 200
    assert client.post("/v1/classify", content=png(1)[:-40]).status_code == 400
    page = client.get("/metrics").text
    for stage, count in (("decode", 2), ("infer", 1)):
        assert f'wrn_stage_seconds_count{{model="{NAME}",stage="{stage}"}} {count}.0' in page


def test_the_models_are_listed(client) -> None:
    listed = client.get("/v1/models").json()
    assert listed["default"] == NAME
    assert listed["models"][0]["preprocess"]["crop"] == 32


def test_the_openapi_document_and_its_page_list_every_route(client) -> None:
    document = client.get("/openapi.json").json()
    served = {route.path for route in client.app._app.routes if "/versions/" not in route.path}
    pages = {path for path in served if path in ("/", "/docs", "/openapi.json") or path.startswith("/static/")}
    assert served - pages == set(document["paths"])
    page = client.get("/docs").text
    for path in document["paths"]:
        assert path in page
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="static/docs.js">']
    assert "\\n" not in page.partition("<section>")[2].partition("</section>")[0]
    assert "<dd>32 MiB</dd>" in page
    assert "curl --data-binary @cat.png 'http://testserver/v1/classify?k=2'" in html.unescape(page)
    assert not re.findall(r"""(?:src|href)="(?!static/)""", page)
