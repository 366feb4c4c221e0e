"""Message classes and methods of the protocols, from their compiled descriptors."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

INFERENCE, HEALTH = "inference.GRPCInferenceService", "grpc.health.v1.Health"


@cache
def descriptor_pool() -> Any:
    """Return the descriptors in a pool of their own: in the default one they would collide with those of a client."""
    pool, data = DescriptorPool(), resources.files(__package__).joinpath("descriptors.bin").read_bytes()
    for file in FileDescriptorSet.FromString(data).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def message_class(name: str) -> Any:
    """Return the class of a message, by its full name."""
    return GetMessageClass(descriptor_pool().FindMessageTypeByName(name))


def message_classes(service: str, method: str) -> tuple[Any, Any]:
    """Return the classes of a method's request and response."""
    descriptor = descriptor_pool().FindServiceByName(service).methods_by_name[method]
    return message_class(descriptor.input_type.full_name), message_class(descriptor.output_type.full_name)
