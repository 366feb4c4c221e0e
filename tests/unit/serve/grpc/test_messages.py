"""The bytes of a message before it is parsed, and the compiled descriptors."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("google.protobuf", reason="needs the extra grpc")

from wideresnet.records import Labels
from wideresnet.serve.grpc import descriptors
from wideresnet.serve.grpc.descriptors import message_class
from wideresnet.serve.grpc.messages import check_size, parse_message, response_message
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.protocol import InferenceRequest
from wideresnet.serve.responses import output_tensors

TOOL = Path(__file__).parents[4] / "tools" / "make_proto.py"
REQUEST = message_class("inference.ModelInferRequest")


FIELDS = [REQUEST(inputs=[{"shape": [7] * 9}, {"contents": {"bytes_contents": [b""] * 9}}]).SerializeToString()]
FIELDS += [REQUEST(raw_input_contents=[bytes(n)]).SerializeToString() for n in (0, 5, 200)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=3), st.text(max_size=20), st.lists(st.integers(0, 2**40)))
def test_raw_contents_are_not_counted_and_everything_else_is(raw: list[bytes], name: str, shape: list[int]) -> None:
    message = REQUEST(model_name=name, raw_input_contents=raw, inputs=[{"shape": shape}, {}])
    data = message.SerializeToString()
    message.ClearField("raw_input_contents")
    length = len(message.SerializeToString())
    with mock.patch("wideresnet.serve.grpc.messages.MAX_JSON", length):
        check_size(data)
    with mock.patch("wideresnet.serve.grpc.messages.MAX_JSON", length - 1), pytest.raises(ApiError, match="at most"):
        check_size(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FIELDS) | st.binary(max_size=8), max_size=8).map(b"".join))
def test_no_arrangement_of_bytes_hides_a_large_field(data: bytes) -> None:
    with mock.patch("wideresnet.serve.grpc.messages.MAX_JSON", 100):
        try:
            message = parse_message(REQUEST, data)
        except ApiError:
            return
    message.ClearField("raw_input_contents")
    assert len(message.SerializeToString()) <= 400     # empty entries of maps grow from 2 bytes to 8


@pytest.mark.parametrize("binary", [True, False])
def test_the_outputs_of_a_calibrated_model_come_in_the_order_asked_for(binary: bool) -> None:
    logits = np.arange(4, dtype=np.float32).reshape(2, 2)
    names = ["p_known", "set", "logits"]
    request = InferenceRequest("", [b"", b""], names, names if binary else [], 0)
    values = {"logits": logits, "p_known": np.array([[0.25], [0.5]]), "set": logits > 0}
    tensors = output_tensors(request, values, Labels(("a", "b")))
    message = response_message(request, "m/2", tensors)
    assert (message.model_name, message.model_version) == ("m", "2")
    shapes = [(output.name, output.datatype, list(output.shape)) for output in message.outputs]
    assert shapes == [("p_known", "FP32", [2, 1]), ("set", "BOOL", [2, 2]), ("logits", "FP32", [2, 2])]
    types = ["<f4", "?", "<f4"]
    raw = [list(np.frombuffer(data, type)) for data, type in zip(message.raw_output_contents, types, strict=binary)]
    typed = [[*output.contents.fp32_contents, *output.contents.bool_contents] for output in message.outputs]
    assert (raw if binary else typed) == [[0.25, 0.5], [False, True, True, True], [0, 1, 2, 3]]
    assert (typed if binary else raw) == ([[], [], []] if binary else [])


def test_the_descriptors_are_those_of_the_proto_files() -> None:
    pytest.importorskip("grpc_tools", reason="needs grpcio-tools")
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    spec = importlib.util.spec_from_file_location("make_proto", TOOL)
    assert spec
    assert spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    stored = Path(descriptors.__file__).with_name("descriptors.bin").read_bytes()
    assert FileDescriptorSet.FromString(stored) == FileDescriptorSet.FromString(tool.compiled())
