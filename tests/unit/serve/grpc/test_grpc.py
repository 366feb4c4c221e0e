"""The calls over gRPC beside the routes of HTTP: the same answers, the same refusals, limits that are returned."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import numpy as np
import pytest

from collector import attributes, receiving
from fakes import FakeEngine, calibrated_bundle, tiny_bundle
from serving import NAME, GatedEngine, open_model, png, run, until

grpc = pytest.importorskip("grpc", reason="needs the extra grpc")
pytest.importorskip("grpc_reflection", reason="needs the extra grpc")

from wideresnet.serve.grpc.descriptors import HEALTH, INFERENCE, message_classes  # noqa: E402
from wideresnet.serve.grpc.server import grpc_server  # noqa: E402
from wideresnet.serve.service import Service  # noqa: E402
from wideresnet.serve.settings import ServeSettings  # noqa: E402

PIXELS = np.stack([FakeEngine().image(label) for label in (3, 7)])
LOGITS = -np.abs(np.arange(10, dtype=np.float32) - np.array([[3], [7]]))
HttpClient = httpx2.AsyncClient
CODES = {401: "UNAUTHENTICATED", 404: "NOT_FOUND", 422: "INVALID_ARGUMENT", 503: "UNAVAILABLE"}


class Client:
    """A client of one service that knows its messages."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    async def __call__(self, method: str, service: str = INFERENCE, **fields: Any) -> Any:
        return await self.send(method, message_classes(service, method)[0](**fields), service)

    def send(self, method: str, message: Any, service: str = INFERENCE, **options: Any) -> Any:
        data = message if isinstance(message, bytes) else message.SerializeToString()
        parse = message_classes(service, method)[1].FromString
        return self.channel.unary_unary(f"/{service}/{method}", response_deserializer=parse)(data, **options)

    async def refused(self, call: Awaitable[Any]) -> tuple[str, str]:
        """Return the name of the status code, and the details."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return caught.value.code().name, caught.value.details()


@asynccontextmanager
async def calling(service: Service) -> AsyncIterator[Client]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = "{}:{}".format(*probe.getsockname())
    async with grpc_server(service, address), grpc.aio.insecure_channel(address) as channel:
        yield Client(channel)


def run_both(service: Service, story: Callable[[HttpClient, Client], Awaitable[None]]) -> None:
    """Run ``story`` with a client of each transport, and check that all limits are returned."""

    async def main(client: HttpClient) -> None:
        async with calling(service) as rpc:
            await story(client, rpc)
            await until(lambda: not service.admission.requests and not service.admission.images)

    run(service, main)


def request(raw: list[bytes] | None = None, contents: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A request of two batches of pixels, or with ``changes`` of its input, outputs or parameters."""
    kind = message_classes(INFERENCE, "ModelInfer")[0]
    top = {name: changes.pop(name) for name in ("model_name", "id", "outputs", "parameters") if name in changes}
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 32, 32, 3]} | changes
    if contents is not None:
        tensor["contents"] = contents
    raw = [PIXELS.tobytes()] if raw is None and contents is None else raw
    return kind(**{"model_name": NAME, "inputs": [tensor], "raw_input_contents": raw or []} | top)


def images(*items: bytes, **changes: Any) -> Any:
    """A request of encoded images."""
    raw = b"".join(struct.pack("<I", len(item)) + item for item in items)
    return request(**{"raw": [raw], "name": "pictures", "datatype": "BYTES", "shape": [len(items)]} | changes)


def floats(response: Any, index: int = 0) -> np.ndarray:
    shape = list(response.outputs[index].shape)
    return np.frombuffer(response.raw_output_contents[index], "<f4").reshape(shape)


def test_all_forms_of_a_request_have_the_logits_of_http(make_service) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        tensor = {"name": "images", "shape": [2, 32, 32, 3], "datatype": "UINT8", "data": PIXELS.tolist()}
        done = await client.post(f"/v2/models/{NAME}/infer", json={"inputs": [tensor]})
        over_http = np.array(done.json()["outputs"][0]["data"], np.float32).reshape(2, 10)
        np.testing.assert_array_equal(over_http, LOGITS)
        for message in (request(id="7"), images(png(3), png(7), id="7")):
            response = await rpc.send("ModelInfer", message)
            assert (response.id, response.model_name, response.model_version) == ("7", NAME, "1")
            np.testing.assert_array_equal(floats(response), LOGITS)
        typed = request(contents={"uint_contents": PIXELS.ravel().tolist()})
        names = {"name": "pictures", "datatype": "BYTES", "shape": [2]}
        for message in (typed, request(contents={"bytes_contents": [png(3), png(7)]}, **names)):
            response = await rpc.send("ModelInfer", message)
            assert not response.raw_output_contents
            np.testing.assert_array_equal(response.outputs[0].contents.fp32_contents, LOGITS.ravel())

    run_both(make_service(), story)


def test_classes_come_as_bytes_and_what_has_no_effect_is_listed(make_service) -> None:
    outputs = [{"name": "logits", "parameters": {"classification": {"int64_param": 2}}}]
    ignored = {"priority": {"uint64_param": 1}, "when": {"string_param": "now"}}

    async def story(client: HttpClient, rpc: Client) -> None:
        raw = await rpc.send("ModelInfer", request(outputs=outputs, parameters=ignored, name="input"))
        first = raw.raw_output_contents[0]
        assert (raw.outputs[0].datatype, list(raw.outputs[0].shape)) == ("BYTES", [2, 2])
        assert first[4 : 4 + int.from_bytes(first[:4], "little")].split(b":")[1:] == [b"3", b"cat"]
        assert {*raw.parameters["ignored"].string_param.split(", ")} == {"priority", "when"}
        assert raw.parameters["read_as"].string_param == "images"
        message = request(contents={"uint_contents": PIXELS.ravel().tolist()}, outputs=outputs)
        typed = await rpc.send("ModelInfer", message)
        words = [word.split(b":")[2] for word in typed.outputs[0].contents.bytes_contents]
        assert words[::2] == [b"cat", b"horse"]

    run_both(make_service(), story)


def over_http(tensor: dict[str, Any], blob: bytes, top: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """The same request with binary data over HTTP."""
    document = {"inputs": [tensor | {"parameters": {"binary_data_size": len(blob)}}], **top}
    header = json.dumps(document).encode()
    return header + blob, {"Inference-Header-Content-Length": str(len(header))}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"datatype": "FP32"}, "INVALID_ARGUMENT"),
        ({"name": "pictures"}, "INVALID_ARGUMENT"),
        ({"shape": [2, 3, 32, 32]}, "INVALID_ARGUMENT"),
        ({"shape": []}, "INVALID_ARGUMENT"),
        ({"shape": [1] * 9}, "INVALID_ARGUMENT"),
        ({"shape": [2**40, 32, 32, 3]}, "INVALID_ARGUMENT"),
        ({"shape": [65, 32, 32, 3]}, "INVALID_ARGUMENT"),
        ({"shape": [0, 32, 32, 3]}, "INVALID_ARGUMENT"),
        ({"shape": [3, 32, 32, 3]}, "INVALID_ARGUMENT"),
        ({"blob": b""}, "INVALID_ARGUMENT"),
        ({"blob": bytes(6143)}, "INVALID_ARGUMENT"),
        ({"blob": bytes(6145)}, "INVALID_ARGUMENT"),
        ({"blob": b"\5\0\0\0abc", "name": "pictures", "datatype": "BYTES", "shape": [1]}, "INVALID_ARGUMENT"),
        ({"blob": bytes(8), "name": "pictures", "datatype": "BYTES", "shape": [1]}, "INVALID_ARGUMENT"),
        ({"blob": bytes(400), "name": "pictures", "datatype": "BYTES", "shape": [-1]}, "INVALID_ARGUMENT"),
        ({"blob": b"\4\0\0\0none", "name": "pictures", "datatype": "BYTES", "shape": [1]}, "INVALID_ARGUMENT"),
        ({"outputs": [{"name": "other"}]}, "INVALID_ARGUMENT"),
        ({"outputs": [{"name": "logits"}] * 2}, "INVALID_ARGUMENT"),
        ({"model_name": "wrn_10_1"}, "NOT_FOUND"),
    ],
)
def test_both_transports_refuse_the_same_with_the_same_words(make_service, changes: dict[str, Any], code: str) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 32, 32, 3]}
        tensor |= {name: value for name, value in changes.items() if name in tensor}
        top = {name: value for name, value in changes.items() if name == "outputs"}
        blob, model = changes.get("blob", PIXELS.tobytes()), changes.get("model_name", NAME)
        body, headers = over_http(tensor, blob, top)
        done = await client.post(f"/v2/models/{model}/infer", content=body, headers=headers)
        assert 400 <= done.status_code < 500
        message = request([blob], model_name=model, **tensor, **top)
        assert await rpc.refused(rpc.send("ModelInfer", message)) == (code, done.json()["error"])

    run_both(make_service(), story)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (lambda: request([PIXELS.tobytes()] * 2), "1 inputs and 2 raw_input_contents"),
        (lambda: request([PIXELS.tobytes()], {"uint_contents": [1]}), "has both data and binary_data_size"),
        (lambda: request(contents={"int_contents": PIXELS.ravel().tolist()}), "UINT8 data of 'images' in int_contents"),
        (lambda: request(contents={"uint_contents": [256] * 6144}), "integers from 0 to 255"),
        (lambda: request(contents={"uint_contents": [1] * 6143}), "values 6143 for the shape"),
        (lambda: request([], {}), "integers from 0 to 255"),
        (lambda: request(contents={"uint_contents": [1] * 5 * 2**20}), "beside raw_input_contents, at most 4,194,304"),
        (lambda: request([b""] * 101), "more than 100 fields"),
        (lambda: request(parameters={str(n): {} for n in range(99)}), "more than 100 fields"),
        (lambda: request(outputs=[{"parameters": {str(n): {} for n in range(101)}}]), "more than 100 parameters"),
        (lambda: request(parameters={"shared_memory_region": {"string_param": "a"}}), "shared memory"),
        (lambda: b"\x3a\xff\xff\xff\xff\x0fabc", "the message is cut short"),
        (lambda: b"\x0a\x01\xff", "not a ModelInferRequest"),
    ],
)  # fmt: skip
def test_damaged_and_hostile_messages_are_refused(make_service, message: Callable[[], Any], words: str) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        code, details = await rpc.refused(rpc.send("ModelInfer", message()))
        assert code == "INVALID_ARGUMENT"
        assert words in details
        assert (await rpc.send("ModelInfer", request())).outputs

    run_both(make_service(), story)


def test_a_message_that_is_too_large_also_when_unpacked_is_refused_and_counted(make_service) -> None:
    service = make_service(max_bytes=10_000)

    async def story(client: HttpClient, rpc: Client) -> None:
        zeros = request([bytes(1_000_000)])
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            code, details = await rpc.refused(rpc.send("ModelInfer", zeros, compression=compression))
            assert code == "RESOURCE_EXHAUSTED"
            assert "message larger than max" in details
        await until(lambda: b'wrn_failures_total{kind="gone"} 2.0' in service.metrics.render())
        assert (await rpc.send("ModelInfer", request(), compression=grpc.Compression.Gzip)).outputs

    run_both(service, story)


def test_calls_need_the_token_and_probes_do_not(make_service) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        for metadata in ((), (("authorization", "Bearer no"),), (("authorization", "Basic secret"),)):
            for method, message in (("ModelInfer", request()), ("ServerMetadata", b""), ("ModelReady", b"")):
                code, details = await rpc.refused(rpc.send(method, message, metadata=metadata))
                assert code == "UNAUTHENTICATED"
                assert details.startswith("a bearer token is required")
        assert (await rpc.send("ModelInfer", request(), metadata=(("authorization", "Bearer secret"),))).outputs
        assert (await rpc("ServerLive")).live
        assert (await rpc("ServerReady")).ready
        assert (await rpc("Check", HEALTH)).status == 1

    run_both(make_service(token="secret"), story)


CONTROL = {"RepositoryModelLoad": "load", "RepositoryModelUnload": "unload"}


def test_models_are_loaded_and_unloaded_by_the_rules_of_http(make_service) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        async def both(method: str, token: str, name: str, **parameters: bool) -> str:
            """Check that the two transports say the same; return it."""
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            path = f"/v2/repository/models/{name.replace('/', '%2F')}/{CONTROL[method]}"
            done = await client.post(path, headers=headers, json={"parameters": parameters})
            values = {key: {"bool_param": value} for key, value in parameters.items()}
            message = message_classes(INFERENCE, method)[0](model_name=name, parameters=values)
            metadata = [(key.lower(), value) for key, value in headers.items()]
            code, details = await rpc.refused(rpc.send(method, message, metadata=metadata))
            assert (code, details) == (CODES[done.status_code], done.json()["error"])
            return details

        for method, verb in CONTROL.items():
            for token in ("", "secret", "nonsense"):
                assert (await both(method, token, NAME)).startswith("the admin token is required")
            assert (await both(method, "sesame", "other")).startswith("no model called 'other'")
            assert (await both(method, "sesame", "m/2")).endswith(f"are loaded and unloaded together ({verb} 'm')")
            assert (await both(method, "sesame", NAME, config=True)).startswith("the parameter 'config' is not")
        assert (await both("RepositoryModelLoad", "sesame", NAME, unload_dependents=True)).startswith("the parameter")
        admin = [("authorization", "Bearer sesame")]
        for method in ("RepositoryIndex", *CONTROL):
            message = message_classes(INFERENCE, method)[0](repository_name="b")
            code, details = await rpc.refused(rpc.send(method, message, metadata=admin))
            assert (code, details.partition(" (")[0]) == ("NOT_FOUND", "no repository called 'b'")
        assert "model_repository" in (await rpc.send("ServerMetadata", b"", metadata=admin)).extensions
        service.admission.draining = True
        assert (await both("RepositoryModelLoad", "sesame", NAME)).startswith("the server is shutting down")

    service = make_service(token="secret", admin_token="sesame")
    run_both(service, story)


def test_without_an_admin_token_no_model_is_loaded(make_service) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        for method, verb in CONTROL.items():
            done = await client.post(f"/v2/repository/models/{NAME}/{verb}")
            code, details = await rpc.refused(rpc(method, model_name=NAME))
            assert (done.status_code, code, details) == (404, "NOT_FOUND", done.json()["error"])
            assert "'wrn serve --admin-token-file FILE' allows it" in details
        assert "model_repository" not in (await rpc("ServerMetadata")).extensions

    run_both(make_service(), story)


def test_labels_in_the_metadata_count_or_are_refused(make_service) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        await rpc.send("ModelInfer", request(), metadata=(("x-label", "3,dog"),))
        await until(lambda: service.shadow.report.n == 2)
        assert service.shadow.report.right == {(True, True): 1, (False, False): 1}
        for label, words in ("3", "X-Label has 1 labels for 2 images"), ("3,kitten", "no class called 'kitten'"):
            code, details = await rpc.refused(rpc.send("ModelInfer", request(), metadata=(("x-label", label),)))
            assert (code, words in details) == ("INVALID_ARGUMENT", True)

    async def alone(client: HttpClient, rpc: Client) -> None:
        code, details = await rpc.refused(rpc.send("ModelInfer", request(), metadata=(("x-label", "3,7"),)))
        assert (code, "X-Label would have no effect" in details) == ("INVALID_ARGUMENT", True)

    service = make_service(shadow=f"{NAME}={NAME}", shadow_fraction=1)
    run_both(service, story)
    run_both(make_service(), alone)


def test_the_deadline_of_the_client_and_its_cancellation_end_the_work(make_service) -> None:
    engine = GatedEngine()
    service = make_service(engine)

    async def story(client: HttpClient, rpc: Client) -> None:
        code, _ = await rpc.refused(rpc.send("ModelInfer", request(), timeout=0.3))
        assert code == "DEADLINE_EXCEEDED"
        await until(lambda: not service.admission.requests)
        call = rpc.send("ModelInfer", request())
        await until(lambda: service.admission.requests)
        call.cancel()
        await until(lambda: not service.admission.requests)
        text = service.metrics.render().decode()
        assert sum(map(float, re.findall(r'wrn_failures_total{kind="(?:deadline|gone)"} (.*)', text))) == 2
        assert service.admission.images >= 2       # held until the engine is done with them, although nobody waits
        engine.gate.set()

    run_both(service, story)


def test_the_service_has_a_deadline_of_its_own(make_service) -> None:
    engine = GatedEngine()

    async def story(client: HttpClient, rpc: Client) -> None:
        answer = await rpc.refused(rpc.send("ModelInfer", request(), timeout=20))
        assert answer == ("DEADLINE_EXCEEDED", "no result within 0.2 seconds (send fewer images, or retry later)")
        engine.gate.set()

    run_both(make_service(engine, deadline=0.2), story)


def test_both_transports_share_one_queue(make_service) -> None:
    engine = GatedEngine()
    service = make_service(engine, queue=2)

    async def story(client: HttpClient, rpc: Client) -> None:
        first = rpc.send("ModelInfer", request())
        await until(lambda: service.admission.images == 2)
        code, details = await rpc.refused(rpc.send("ModelInfer", request()))
        done = await client.post("/v1/classify", content=png(1))
        assert (code, done.status_code) == ("RESOURCE_EXHAUSTED", 429)
        assert details == f"{done.json()['detail']} ({done.json()['hint']})"
        engine.gate.set()
        assert (await first).outputs

    run_both(service, story)


def test_a_client_that_sends_nothing_is_cut_off_and_takes_a_place_until_then(make_service) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(20)
        yield b""

    async def empty() -> AsyncIterator[bytes]:
        return
        yield

    async def story(client: HttpClient, rpc: Client) -> None:
        call = rpc.channel.stream_unary(f"/{INFERENCE}/ModelInfer")(empty())
        assert await rpc.refused(call) == ("INVALID_ARGUMENT", "the call has no message (send one)")
        silent = rpc.channel.stream_unary(f"/{INFERENCE}/ModelInfer")(nothing())
        await until(lambda: service.admission.requests)
        code, details = await rpc.refused(rpc.send("ModelInfer", request()))
        assert (code, details) == ("RESOURCE_EXHAUSTED", "the limit on uploads is reached (1) (retry after 1 s)")
        assert (await rpc("ServerLive")).live
        assert (await rpc("Check", HEALTH)).status == 1
        silent_probe = rpc.channel.stream_unary(f"/{INFERENCE}/ServerLive")(nothing())
        code, details = await rpc.refused(silent)
        assert code == "DEADLINE_EXCEEDED"
        assert (await rpc.send("ModelInfer", images(png(3)))).outputs
        await rpc.refused(silent_probe)
        assert details.startswith("the message was not received within 0.5 seconds")

    service = make_service(queue=1, upload_deadline=0.5)
    run_both(service, story)


def test_a_second_message_of_a_call_is_refused(make_service) -> None:
    async def twice() -> AsyncIterator[bytes]:
        yield request().SerializeToString()
        yield request().SerializeToString()

    async def story(client: HttpClient, rpc: Client) -> None:
        call = rpc.channel.stream_unary(f"/{INFERENCE}/ModelInfer")(twice())
        assert await rpc.refused(call) == ("INVALID_ARGUMENT", "the call has more than one message (send one)")
        assert (await rpc.send("ModelInfer", request())).outputs

    run_both(make_service(), story)


@pytest.mark.parametrize("name", ["authorization", "x-label"])
def test_metadata_that_count_once_are_refused_twice(make_service, name: str) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        code, details = await rpc.refused(rpc.send("ModelInfer", request(), metadata=((name, "3"), (name, "4"))))
        assert code == "INVALID_ARGUMENT"
        assert f"the header {name!r} is given 2 times" in details

    run_both(make_service(), story)


def test_while_draining_calls_in_progress_are_answered_and_new_ones_refused(make_service) -> None:
    engine = GatedEngine()
    service = make_service(engine)

    async def story(client: HttpClient, rpc: Client) -> None:
        first = rpc.send("ModelInfer", request())
        await until(lambda: service.admission.images == 2)
        service.admission.draining = True
        answer = await rpc.refused(rpc.send("ModelInfer", request()))
        assert answer == ("UNAVAILABLE", "the server is shutting down (retry on another instance)")
        assert (await rpc("ServerLive")).live
        assert not (await rpc("ServerReady")).ready
        assert not (await rpc("ModelReady", name=NAME)).ready
        assert (await rpc("Check", HEALTH)).status == 2
        (model,) = (await rpc("RepositoryIndex")).models
        assert (model.name, model.state, model.reason) == (NAME, "UNAVAILABLE", "the server is shutting down")
        assert not (await rpc("RepositoryIndex", ready=True)).models
        engine.gate.set()
        np.testing.assert_array_equal(floats(await first), LOGITS)

    run_both(service, story)


def test_before_the_models_are_open_nothing_is_ready(make_service) -> None:
    service = make_service()
    service.set_models({})

    async def story(client: HttpClient, rpc: Client) -> None:
        assert not (await rpc("ServerReady")).ready
        assert not (await rpc("ModelReady", name=NAME)).ready
        code, details = await rpc.refused(rpc.send("ModelInfer", request()))
        assert (code, details.partition(" (")[0]) == ("UNAVAILABLE", "the models are still loading")

    run_both(service, story)


def test_hints_about_images_do_not_name_what_uploads_files(make_service) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        for data in (b"", b"{}", b"/9j/4AAQSkZJRgABAQ"):
            tensor = {"name": "pictures", "shape": [1], "datatype": "BYTES", "data": [b64encode(data).decode()]}
            done = await client.post(f"/v2/models/{NAME}/infer", json={"inputs": [tensor]})
            answer = await rpc.refused(rpc.send("ModelInfer", images(data)))
            assert answer == ("INVALID_ARGUMENT", done.json()["error"])
            assert "image 0: not an image" in answer[1]
            assert "curl" not in answer[1]

    run_both(make_service(), story)


def test_a_name_with_a_version_and_another_version_are_refused(make_service) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        for version, name in ("", NAME), ("1", NAME), ("1", f"{NAME}/1"), ("", f"{NAME}/1"):
            message = request(model_name=name)
            message.model_version = version
            assert (await rpc.send("ModelInfer", message)).outputs
        message = request(model_name=f"{NAME}/1")
        message.model_version = "2"
        code, details = await rpc.refused(rpc.send("ModelInfer", message))
        assert (code, details) == ("NOT_FOUND", "the name says version '1', the request '2' (name one)")

    run_both(make_service(), story)


@pytest.mark.parametrize("make_model", [tiny_bundle, lambda: calibrated_bundle(tiny_bundle())])
def test_documents_are_those_of_http(make_service, make_model) -> None:
    async def story(client: HttpClient, rpc: Client) -> None:
        from google.protobuf.json_format import MessageToDict

        def numbers(value: Any) -> Any:
            """The document without zeros and empty lists, which messages do not hold, and numbers as text."""
            if isinstance(value, dict):
                return {name: numbers(member) for name, member in value.items() if member not in (0, [], "")}
            return [numbers(member) for member in value] if isinstance(value, list) else str(value)

        name = {"name": NAME}
        for path, method, fields in (
            ("/v2", "ServerMetadata", {}), (f"/v2/models/{NAME}", "ModelMetadata", name),
            (f"/v2/models/{NAME}/config", "ModelConfig", name), (f"/v2/models/{NAME}/stats", "ModelStatistics", name),
            ("/v2/models/stats", "ModelStatistics", {}),
        ):  # fmt: skip
            document = MessageToDict(await rpc(method, **fields), preserving_proto_field_name=True)
            assert numbers(document.get("config", document)) == numbers((await client.get(path)).json()), path
        index = await rpc("RepositoryIndex")
        assert numbers(MessageToDict(index)["models"]) == numbers((await client.post("/v2/repository/index")).json())
        for method in ("ModelMetadata", "ModelConfig", "ModelStatistics"):
            assert (await rpc.refused(rpc(method, name="other")))[0] == "NOT_FOUND"
            assert (await rpc.refused(rpc(method, name=NAME, version="2")))[0] == "NOT_FOUND"
        for fields in ({"name": "other"}, {"name": NAME, "version": "2"}):           # no error for a client that waits
            assert not (await rpc("ModelReady", **fields)).ready

    service = make_service()
    service.set_models({NAME: open_model(make_model(), FakeEngine())})
    run_both(service, story)


def test_calls_are_counted_and_logged_like_requests(make_service) -> None:
    lines: list[str] = []
    service = make_service(log="json")
    service._write = lines.append

    async def story(client: HttpClient, rpc: Client) -> None:
        call = rpc.send("ModelInfer", request(), metadata=(("x-request-id", "mine-1"),))
        await call
        assert (await call.trailing_metadata())["x-request-id"] == "mine-1"
        await rpc.refused(rpc.send("ModelInfer", request([b""])))
        await until(lambda: b'status="400"' in service.metrics.render())       # a call is counted after its answer
        text = service.metrics.render().decode()
        route = f'route="/{INFERENCE}/ModelInfer"'
        assert f'wrn_requests_total{{model="{NAME}",{route},status="200"}} 1.0' in text
        assert f'wrn_requests_total{{model="{NAME}",{route},status="400"}} 1.0' in text
        assert f'wrn_pictures_total{{model="{NAME}"}} 2.0' in text
        counts = service.models[NAME].statistics.to_json()["inference_stats"]
        assert (counts["success"]["count"], counts["fail"]["count"]) == (1, 1)
        record = next(json.loads(line) for line in lines if "mine-1" in line)
        assert record["path"] == f"/{INFERENCE}/ModelInfer"
        assert (record["client"], record["model"], record["status"]) == ("127.0.0.1", NAME, 200)
        assert record["pictures"] == 2
        assert record["bytes"] == len(request().SerializeToString())

    run_both(service, story)


def test_calls_are_traced_below_their_clients(make_service) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra tracing")
    from wideresnet.serve.tracing import Tracing

    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with receiving() as collector:
        service = make_service()
        service.tracing = Tracing(collector.url, print)

        async def story(client: HttpClient, rpc: Client) -> None:
            await rpc.send("ModelInfer", request(), metadata=(("traceparent", f"00-{trace}-{parent}-01"),))

        run_both(service, story)
        assert asyncio.run(service.tracing.close(20))
    (server,) = (span for span in collector.spans if span.parent_span_id.hex() == parent)
    assert (server.name, server.trace_id.hex()) == (f"{INFERENCE}/ModelInfer", trace)
    described = attributes(server)
    assert (described["rpc.service"], described["rpc.method"]) == (INFERENCE, "ModelInfer")
    assert described["wrn.pictures"] == 2
    assert {"read", "decode", "wait", "infer"} <= {span.name for span in collector.spans}


def test_the_shadow_compares_images_of_calls(bundle) -> None:
    service = Service(ServeSettings(shadow="a=b", shadow_fraction=1))
    service.set_models({name: open_model(bundle, FakeEngine(), name) for name in "ab"})

    async def story(client: HttpClient, rpc: Client) -> None:
        await rpc.send("ModelInfer", request(model_name="a"))
        await until(lambda: service.shadow and service.shadow.report.agreements == 2)

    run_both(service, story)


def test_an_unforeseen_error_is_internal_and_tells_nothing(make_service, monkeypatch, caplog) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("wideresnet.serve.grpc.rpcs.output_tensors", fail)

    async def story(client: HttpClient, rpc: Client) -> None:
        code, details = await rpc.refused(rpc.send("ModelInfer", request()))
        assert (code, details.partition(" (")[0]) == ("INTERNAL", "internal server error")

    run_both(make_service(), story)
    assert "secret" in caplog.text


def test_an_address_that_is_taken_is_an_error(make_service) -> None:
    from wideresnet.errors import ConfigError

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            async with grpc_server(make_service(), f"127.0.0.1:{taken.getsockname()[1]}"):
                pass

    with pytest.raises(ConfigError, match="cannot listen on 127"):
        asyncio.run(main())


# gRPC's own services, by their own clients


def test_health_is_checked_and_watched(make_service, monkeypatch) -> None:
    health = pytest.importorskip("grpc_health.v1.health_pb2", reason="needs grpcio-health-checking")
    stubs = pytest.importorskip("grpc_health.v1.health_pb2_grpc", reason="needs grpcio-health-checking")
    monkeypatch.setattr("wideresnet.serve.grpc.health.MAX_WATCHERS", 2)
    service = make_service()
    serving, not_serving, unknown = 1, 2, 3

    async def story(client: HttpClient, rpc: Client) -> None:
        stub = stubs.HealthStub(rpc.channel)
        for name in ("", INFERENCE, NAME):
            assert (await stub.Check(health.HealthCheckRequest(service=name))).status == serving
        code, _ = await rpc.refused(stub.Check(health.HealthCheckRequest(service="other")))
        assert code == "NOT_FOUND"
        watches = [stub.Watch(health.HealthCheckRequest(service=name)) for name in (NAME, "other")]
        assert [(await watch.read()).status for watch in watches] == [serving, unknown]
        code, _ = await rpc.refused(anext(aiter(stub.Watch(health.HealthCheckRequest()))))
        assert code == "RESOURCE_EXHAUSTED"
        service.admission.draining = True
        assert (await watches[0].read()).status == not_serving
        async with asyncio.timeout(20):            # that of a model that is not there ends, too
            assert [await watch.read() for watch in watches] == [grpc.aio.EOF] * 2

    run_both(service, story)


def test_reflection_lists_the_services_and_describes_their_messages(make_service) -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    ask = reflection_pb2.ServerReflectionRequest

    async def story(client: HttpClient, rpc: Client) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(rpc.channel)
        questions = iter([ask(list_services=""), ask(file_containing_symbol=INFERENCE)])
        services, files = [answer async for answer in stub.ServerReflectionInfo(questions)]
        names = {service.name for service in services.list_services_response.service}
        assert {INFERENCE, HEALTH} < names
        (data,) = files.file_descriptor_response.file_descriptor_proto
        file = FileDescriptorProto.FromString(data)
        assert file.package == "inference"
        assert "ModelInferRequest" in [message.name for message in file.message_type]

    run_both(make_service(), story)
