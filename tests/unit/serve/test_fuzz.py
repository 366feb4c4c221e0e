"""Generated bodies and requests: every one is answered, none with a 500. More of them under ``slow``."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from fakes import FakeEngine, tiny_bundle
from serving import NAME, open_model, png
from wideresnet.bundle import read_bundle, write_bundle
from wideresnet.serve import protocol
from wideresnet.serve.app import make_app
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.http.request_body import MultipartReader, inflate
from wideresnet.serve.repository_routes import parse_index_request
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings

QUICK, MANY = 40, 20_000                           # cases of a test of a parser
OF_A_ROUTE = 200                                   # cases of schemathesis
SIDE, MOST = 32, 4

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
numbers = st.integers(-1, 5) | st.integers() | st.just(SIDE)
texts = st.sampled_from(["aGVsbG8=", "data:image/png;base64,aGVsbG8", "data:,a", "a", "_-", "\u0661"])
texts |= st.text(max_size=8)
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["images", "pictures", "x"]),
        "shape": st.lists(numbers, max_size=5) | st.just([-1, SIDE, SIDE, 3]) | st.just([1]) | numbers,
        "datatype": st.sampled_from(["UINT8", "BYTES", "FP32"]),
    },
    optional={
        "data": json_values | st.lists(st.integers(0, 255), max_size=20) | st.lists(texts, max_size=3) | texts,
        "parameters": st.none() | st.dictionaries(st.just("binary_data_size"), numbers | json_values, max_size=1),
        "other": json_values,
    },
)
headers = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=2)},
    optional={
        "id": st.text(max_size=8),
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["logits", "x"])}), max_size=2),
        "parameters": st.dictionaries(st.just("binary_data_output"), json_values, max_size=1),
    },
)
pieces = st.sampled_from(
    [
        b"--xyz", b"--", b"\r\n", b"\r\n\r\n", b"Content-Disposition: form-data; ", b'filename="a"', b'name="k"',
        b'\r\nContent-Type: image/png', b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\na\r\n',
    ]
)  # fmt: skip


def inference(header: object, tail: bytes, length: str | None) -> None:
    body = json.dumps(header).encode()
    with suppress(ApiError):
        request = protocol.parse_request(body + tail, str(len(body)) if length == "" else length, SIDE, MOST)
        assert 1 <= len(request.images) <= MOST


def multipart(parts: list[bytes], cut: int) -> None:
    body, reader = b"".join(parts), MultipartReader(b"xyz", MOST, ("k",))
    with suppress(ApiError):
        reader.write(body[:cut])
        reader.write(body[cut:])
        assert 1 <= len(reader.finish()) <= MOST


def compressed(body: bytes, encoding: str) -> None:
    with suppress(ApiError):
        assert len(inflate(body, encoding, 100)) <= 100


def index(body: bytes, document: object) -> None:
    for sent in (body, json.dumps(document).encode()):
        with suppress(ApiError):
            assert type(parse_index_request(sent)) is bool


CASES = {
    "index": (index, (st.binary(max_size=64), json_values)),
    "inference": (inference, (headers | json_values, st.binary(max_size=64), st.sampled_from(["", None, "9", "x"]))),
    "multipart": (multipart, (st.lists(pieces | st.binary(max_size=12), max_size=16), st.integers(0, 80))),
    "compressed": (compressed, (st.binary(max_size=64), st.sampled_from(["gzip", "deflate", "br", ""]))),
}


@pytest.mark.parametrize("count", [QUICK, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_a_body_is_read_or_refused(name: str, count: int) -> None:
    check, strategies = CASES[name]

    @given(st.tuples(*strategies))
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def every(values: tuple[Any, ...]) -> None:
        check(*values)

    every()


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    service = Service(ServeSettings(max_bytes=10**6, threads=1))
    folder = tmp_path_factory.mktemp("fuzz") / "tiny"          # /v1/explain opens it once more
    write_bundle(folder, tiny_bundle())
    model = open_model(read_bundle(folder), FakeEngine())
    model.source = str(folder)
    service.set_models({NAME: model})
    return TestClient(make_app(service), raise_server_exceptions=False)


@given(st.data())
@settings(max_examples=QUICK, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_damaged_image_is_a_fault(fuzzed: TestClient, data: st.DataObject) -> None:
    image = png(1)
    index = data.draw(st.integers(0, len(image)))
    body = image[:index] + data.draw(st.binary(max_size=8)) + image[index + data.draw(st.integers(0, 8)) :]
    assert fuzzed.post("/v1/classify", content=body).status_code in (200, 400)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")             # of schemathesis' own
def test_no_request_of_the_openapi_document_is_a_fault(fuzzed: TestClient) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
    requests = pytest.importorskip("requests", reason="needs schemathesis")
    schema = schemathesis.openapi.from_dict(fuzzed.get("/openapi.json").json())
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        def ask(case: Any) -> None:
            nonlocal tried
            tried += 1
            # Made by schemathesis' own library; starlette's cannot write every form that it thinks of.
            sent = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
            headers = {name: value for name, value in sent.headers.items() if name.lower() != "content-length"}
            answer = fuzzed.request(sent.method, sent.url, headers=headers, content=sent.body)
            assert answer.status_code < 500, (case.operation.label, answer.text)

        modes = schemathesis.GenerationMode
        strategy = operation.as_strategy(modes.POSITIVE) | operation.as_strategy(modes.NEGATIVE)
        settings(max_examples=OF_A_ROUTE, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
            given(strategy)(ask)
        )()
    assert tried > 500
