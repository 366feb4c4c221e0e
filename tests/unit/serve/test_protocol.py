"""The Open Inference Protocol: bodies to images, logits to bodies, and every damaged body refused."""

from __future__ import annotations

import base64
import json
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wideresnet.datasets.labels import read_labels
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.protocol import HEADER_LENGTH, MAX_JSON, parse_request
from wideresnet.serve.repository_routes import parse_index_request
from wideresnet.serve.responses import render_response

PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


def header(**changes: Any) -> dict[str, Any]:
    images = {"name": "images", "shape": [2, 4, 4, 3], "datatype": "UINT8", "data": PIXELS.tolist()}
    return {"inputs": [images | changes]}


def encoded(**changes: Any) -> dict[str, Any]:
    return header(name="pictures", shape=[1], datatype="BYTES", data=[base64.b64encode(b"jpeg").decode()]) | changes


def parsed(document: object, blob: bytes | None = None, max_images: int = 8) -> Any:
    body = json.dumps(document).encode()
    return parse_request(body + (blob or b""), None if blob is None else str(len(body)), 4, max_images)


def binary(size: int, **changes: Any) -> dict[str, Any]:
    return header(data=None, parameters={"binary_data_size": size}, **changes)


def test_a_tensor_comes_as_nested_or_flat_json_or_binary() -> None:
    nested, flat = parsed(header()), parsed(header(data=PIXELS.ravel().tolist()))
    raw = parsed(binary(PIXELS.nbytes), PIXELS.tobytes())
    for request in (nested, flat, raw):
        np.testing.assert_array_equal(request.images, PIXELS)
        assert (request.binary, request.classes) == ([], 0)
    assert [len(part) for part in raw.split(1)] == [1, 1]


def test_a_list_that_is_nested_in_another_way_is_refused() -> None:
    """Three lists of one channel each would be read as rows of pixels."""
    one = PIXELS[:1]
    for data in (one.reshape(1, -1), one[0], one, one.ravel()):
        request = parsed(header(data=data.tolist(), shape=[1, 4, 4, 3]))
        np.testing.assert_array_equal(request.images, one)
    np.testing.assert_array_equal(parsed(header(data=PIXELS.reshape(2, -1).tolist())).images, PIXELS)
    channels = one.transpose(0, 3, 1, 2)
    for data in (channels, channels[0], channels.reshape(3, 16), channels.reshape(1, 3, 16), one.reshape(16, 3)):
        with pytest.raises(ApiError, match="for the shape"):
            parsed(header(data=data.tolist(), shape=[1, 4, 4, 3]))


def test_images_come_as_base64_or_with_their_lengths() -> None:
    assert parsed(encoded()).images == [b"jpeg"]
    blob = struct.pack("<I4sI", 4, b"jpeg", 0)
    request = parsed(binary(len(blob), name="pictures", shape=[2, 1], datatype="BYTES"), blob)
    assert request.images == [b"jpeg", b""]


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ([], "request"),
        ({}, "request"),
        ({"inputs": []}, "parameters"),
        ({"inputs": header()["inputs"] * 2}, "parameters"),
        (header(name="pictures"), "parameters"),
        (header(name="images", shape=[1], datatype="BYTES", data=["bm9uZQ=="]), "parameters"),
        (header(name="input", datatype="FP32"), "parameters"),
        (header(shape=[2, 3, 4, 4]), "parameters"),
        (header(data=PIXELS.transpose(0, 3, 1, 2).tolist()), "request"),
        (header(data=None, parameters={"shared_memory_region": "a"}), "parameters"),
        (header() | {"outputs": [{"name": "logits", "parameters": {"shared_memory_region": "a"}}]}, "parameters"),
        (header() | {"id": 7}, "request"),
        (header(datatype="FP32"), "parameters"),
        (header(shape=[2, 4, 4]), "parameters"),
        (header(shape=[2, 5, 4, 3]), "parameters"),
        (header(shape=[]), "parameters"),
        (header(shape=[2.0, 4, 4, 3]), "request"),
        (header(shape=[0, 4, 4, 3], data=[]), "parameters"),
        (header(shape=[-1, 4, 4, 3], data=[1] * 50), "request"),
        (header(shape=[-1, 4, 4, 3], data=[1] * 48 * 9), "large"),
        (header(shape=[-2, 4, 4, 3]), "parameters"),
        (header(shape=[9, 4, 4, 3]), "large"),
        (header(shape=[3, 4, 4, 3]), "request"),
        (header(data=None), "request"),
        (header(data=[[1, 2], [3]]), "request"),
        (header(data=[256] * 96), "request"),
        (header(data=[-1] * 96), "request"),
        (header(data=[0.5] * 96), "request"),
        (header(data=[True] * 96), "request"),
        (header(data=["1"] * 96), "request"),
        (header(data=[10**30] * 96), "request"),
        (encoded(inputs=[{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": ["€"]}]), "request"),
        (encoded(inputs=[{"name": "pictures", "shape": [2], "datatype": "BYTES", "data": ["bm9uZQ=="]}]), "request"),
        (encoded(inputs=[{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": [7]}]), "request"),
        (encoded(inputs=[{"name": "pictures", "shape": [1, 2], "datatype": "BYTES", "data": []}]), "parameters"),
        (encoded(inputs=[{"name": "pictures", "shape": [2], "datatype": "BYTES", "data": "bm9uZQ=="}]), "request"),
        (encoded(inputs=[{"name": "pictures", "shape": -1, "datatype": "BYTES", "data": []}]), "parameters"),
        (encoded(inputs=[{"name": "a", "shape": [-1], "datatype": "BYTES", "data": ["bm9uZQ=="] * 9}]), "large"),
        (encoded(inputs=[{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": [{"b64": ""}]}]), "request"),
        (encoded(inputs=[{"name": "a", "shape": [1], "datatype": "bytes", "data": ["bm9uZQ=="]}]), "parameters"),
        (header() | {"outputs": [{"name": "other"}]}, "parameters"),
        (header() | {"outputs": [{"name": "logits", "parameters": {"classification": "5"}}]}, "parameters"),
        (header() | {"parameters": {"binary_data_output": 1}}, "parameters"),
    ],
)  # fmt: skip
def test_invalid_requests_are_refused(document: object, kind: str) -> None:
    with pytest.raises(ApiError) as caught:
        parsed(document)
    assert caught.value.kind == kind
    assert caught.value.hint


WORD = base64.b64encode(bytes(range(250))).decode()


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        (-1, WORD),
        (1, WORD),
        ([-1], WORD),
        ([1], WORD),
        ([1, 1], [[WORD]]),
        ([-1, 1], [WORD]),
        ([1], ["data:image/png;base64," + WORD]),
        ([1], [WORD.replace("+", "-").replace("/", "_")]),
        ([1], [WORD.rstrip("=")]),
        ([1], ["\n".join(WORD[start : start + 76] for start in range(0, len(WORD), 76)) + "\n"]),
    ],
)
def test_encoded_images_come_in_every_usual_form(shape: object, data: object) -> None:
    """One string, a shape of -1, URL-safe or broken lines of base64, a data URL are accepted."""
    request = parsed({"inputs": [{"name": "pictures", "shape": shape, "datatype": "BYTES", "data": data}]})
    assert request.images == [bytes(range(250))]
    assert request.notes == {}


def test_an_input_under_another_name_is_resolved_by_its_datatype() -> None:
    """And the response says which input it was read as."""
    request = parsed(header(name="input-0", shape=[-1, 4, 4, 3]))
    np.testing.assert_array_equal(request.images, PIXELS)
    assert request.notes == {"read_as": "images"}
    request = parsed(encoded(inputs=[{"name": "312a4eb0", "shape": -1, "datatype": "BYTES", "data": WORD}]))
    assert request.notes == {"read_as": "pictures"}
    answer = json.loads(render_response(request, "m", OUTPUTS, LABELS)[0])
    assert answer["parameters"] == {"read_as": "pictures"}


def test_null_counts_as_missing() -> None:
    """Clients that write every optional member as null are answered."""
    document = header(parameters=None) | {"id": None, "parameters": None, "outputs": None}
    request = parsed(document)
    assert (request.id, request.binary, request.classes, request.notes) == ("", [], 0, {})


def test_ignored_members_are_listed() -> None:
    """Parameters and members that have no effect are in the response's parameters."""
    document = header(extra=1, parameters={"content_type": "np"})
    document |= {"parameters": {"priority": 1}, "outputs": [{"name": "logits", "parameters": {"fast": True}}]}
    ignored = parsed(document | {"model_name": "m"}).notes["ignored"]
    assert set(ignored.split(", ")) == {"model_name", "priority", "extra", "content_type", "fast"}


def test_of_many_ignored_members_the_rest_is_counted() -> None:
    ignored = parsed(header() | {f"member{number:03}": 1 for number in range(90)}).notes["ignored"]
    assert ignored.startswith("member000, member001, ")
    assert ignored.endswith("member044, … and 45 more")


def test_tensors_in_shared_memory_are_refused_by_that_name() -> None:
    """Neither read as a request without data nor ignored."""
    with pytest.raises(ApiError, match="shared memory"):
        parsed(header(data=None, parameters={"shared_memory_region": "a", "shared_memory_byte_size": 96}))


def test_data_in_json_and_binary_are_refused() -> None:
    """A tensor in JSON and in binary is refused: one of them would have no effect."""
    with pytest.raises(ApiError, match="both data and binary_data_size"):
        parsed(header(parameters={"binary_data_size": PIXELS.nbytes}), PIXELS.tobytes())


def test_floats_are_refused_with_a_hint() -> None:
    """The normalisation would have to be guessed."""
    with pytest.raises(ApiError) as caught:
        parsed(header(name="input", shape=[1, 3, 4, 4], datatype="FP32", data=[0.5] * 48))
    assert "UINT8 [N, 4, 4, 3] (RGB from 0 to 255, not normalised)" in caught.value.message
    assert '"datatype": "BYTES"' in caught.value.hint


@pytest.mark.parametrize(
    ("document", "blob"),
    [
        (binary(95), PIXELS.tobytes()),
        (binary(97), PIXELS.tobytes()),
        (binary(96), PIXELS.tobytes() + b"1"),
        (binary(-1), PIXELS.tobytes()),
        (header(data=None, parameters={"binary_data_size": True}), b"\0"),
        (binary(3, name="pictures", shape=[1], datatype="BYTES"), b"\1\0\0"),
        (binary(8, name="pictures", shape=[1], datatype="BYTES"), struct.pack("<I", 9) + b"jpeg"),
        (binary(8, name="pictures", shape=[1], datatype="BYTES"), bytes(8)),
    ],
)
def test_binary_data_must_have_the_announced_size(document: object, blob: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parsed(document, blob)
    assert caught.value.kind == "request"


@pytest.mark.parametrize("length", ["", "x", "-1", "²", "9" * 5000, "99", "000000000002" + "9" * 5000])
def test_the_length_of_the_json_must_be_valid(length: str) -> None:
    with pytest.raises(ApiError, match=HEADER_LENGTH):
        parse_request(b"{}", length, 4, 8)


def test_json_that_would_take_much_memory_is_not_read() -> None:
    with pytest.raises(ApiError) as caught:
        parse_request(b"[" * (MAX_JSON + 1), None, 4, 8)
    assert caught.value.kind == "large"


def request_text(data: str = "[1]", shape: str = "[1,4,4,3]", parameters: str = "null", outputs: str = "null") -> str:
    tensor = f'{{"name":"images","datatype":"UINT8","shape":{shape},"data":{data},"parameters":{parameters}}}'
    return f'{{"inputs":[{tensor}],"outputs":{outputs}}}'


def many(element: str, count: int = 100_000) -> str:
    return f"[{','.join([element] * count)}]"


def members(count: int) -> str:
    return ",".join(f'"{number}":1' for number in range(count))


def size(value: str) -> str:
    return f'{{"binary_data_size":{value}}}'


HOSTILE = {
    "many empty inputs": f'{{"inputs":{many("{}")}}}',
    "many numbers as inputs": f'{{"inputs":{many("1")}}}',
    "many empty outputs": request_text(outputs=many("{}")),
    "many numbers as outputs": request_text(outputs=many("1")),
    "many texts as shape": request_text(shape=many('""')),
    "one long text": request_text(f'["{"x" * 5000}",{many(chr(34) * 2)[1:]}'),
    "many lists": request_text(many("[]")),
    "many objects": request_text(many('{"":{}}')),
    "many members": f'{{"inputs":[],{members(10_000)}}}',
    "many parameters": request_text(parameters=f"{{{members(10_000)}}}"),
    "a member twice": f'{{"inputs":[],{request_text(many("1", 48))[1:]}',
    "deep data": request_text("[" * 900 + "1" + "]" * 900),
    "very deep data": request_text("[" * 100_000 + "]" * 100_000),
    "deep parameters": request_text(parameters=size("[" * 900 + "]" * 900)),
    "4,300 digits": request_text(parameters=size("-" + "9" * 4300)),
    "5,000 digits": request_text(f"[{'9' * 5000}]"),
    "digits in the shape": request_text(shape=f"[{'9' * 4000}]"),
    "1e400": request_text("[1e400]"),
    "1e400 as size": request_text("null", parameters=size("1e400")),
    "NaN": request_text("[NaN]"),
    "no UTF-8": request_text() + "\ud800",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_refused_in_bounded_memory(text: str) -> None:
    """By counts before validation, without an error object for each fault and without an array of texts.

    Validating each element of a body of 4 MB took 60 seconds and 3.7 GB.
    """
    body = text.encode("utf-8", "surrogatepass")
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as caught:
            parse_request(body, None, 4, 8)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.kind in ("request", "parameters")
    assert len(caught.value.message) < 400
    assert peak < 2**20 + 32 * len(body)


def test_a_long_index_request_is_refused() -> None:
    with pytest.raises(ApiError, match="invalid JSON"):
        parse_index_request(b"{%s}" % b",".join(b'"%d":1' % number for number in range(100_000)))
    assert parse_index_request(b'{"ready": true}') is True


@pytest.mark.parametrize("text", ['{"ready": true, "ready": false}', '{"ready": NaN}', "[", "\udcff"])
def test_an_index_request_is_json_as_others_are(text: str) -> None:
    with pytest.raises(ApiError, match="invalid JSON") as caught:
        parse_index_request(text.encode("utf-8", "surrogateescape"))
    assert caught.value.hint == 'send {"ready": true}, or no body'


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_has_not_is_refused(number: str) -> None:
    body = f'{{"parameters": {{"priority": {number}}}, {request_text("[1]")[1:]}'
    with pytest.raises(ApiError, match=f"invalid JSON: .*'{number}'"):
        parse_request(body.encode(), None, 4, 8)


@given(st.binary(max_size=400), st.one_of(st.none(), st.integers(0, 500).map(str)))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_refused(body: bytes, length: str | None) -> None:
    with pytest.raises(ApiError):
        parse_request(body, length, 4, 8)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("name", "shape", "datatype", "parameters", "data")


@given(st.dictionaries(st.sampled_from(KEYS), JSON), JSON, JSON, st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_a_request_with_anything_in_its_fields_is_read_or_refused(
    changes: dict[str, Any], outputs: Any, parameters: Any, blob: bytes
) -> None:
    for document in (header(**changes), header() | {"outputs": outputs}, header() | {"parameters": parameters}):
        for binary_data in (None, blob):
            try:
                request = parsed(document, binary_data)
            except ApiError:
                continue
            assert len(request.images) <= 8


LOGITS = np.linspace(-3, 3, 20, dtype=np.float32).reshape(2, 10)
OUTPUTS = {"logits": LOGITS}
LABELS = read_labels("cifar10")


def rendered(**output: Any) -> tuple[dict[str, Any], bytes]:
    request = parsed(header() | {"id": "a", "outputs": [{"name": "logits", "parameters": output}]})
    body, headers = render_response(request, "m", OUTPUTS, LABELS)
    length = int(headers.get(HEADER_LENGTH, len(body)))
    return json.loads(body[:length]), body[length:]


def test_logits_go_out_as_json_or_binary() -> None:
    answer, rest = rendered()
    assert (answer["id"], answer["model_name"], answer["model_version"], rest) == ("a", "m", "1", b"")
    np.testing.assert_allclose(answer["outputs"][0]["data"], LOGITS.ravel())
    answer, rest = rendered(binary_data=True)
    assert answer["outputs"][0]["parameters"] == {"binary_data_size": 80}
    np.testing.assert_array_equal(np.frombuffer(rest, "<f4").reshape(2, 10), LOGITS)


def test_classes_go_out_as_strings() -> None:
    answer, _ = rendered(classification=2)
    output = answer["outputs"][0]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    assert [word.split(":")[1:] for word in output["data"]] == [["9", "truck"], ["8", "ship"]] * 2
    binary_answer, rest = rendered(classification=2, binary_data=True)
    assert binary_answer["outputs"][0]["parameters"] == {"binary_data_size": len(rest)}
    assert rest[4 : 4 + int.from_bytes(rest[:4], "little")].decode() == output["data"][0]
