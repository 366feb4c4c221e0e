"""Load by Python clients, the same for HTTP and gRPC: python python_load.py URL MODEL CLIENTS SECONDS IMAGE…

URL is http://HOST:PORT or grpc://HOST:PORT. Each client has a connection of its own and sends one encoded image after
the other by the Open Inference Protocol, as binary data. Prints the JSON of images.lua. Python takes more of the CPUs
than wrk does: compare the two protocols, and the CPU time of the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Send = Callable[[bytes], Awaitable[str]]           # an image; "", "refused" or "error"
METHOD = "/inference.GRPCInferenceService/ModelInfer"


async def http_client(address: str, model: str) -> Send:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def send(image: bytes) -> str:
        data = struct.pack("<I", len(image)) + image
        tensor = {"name": "pictures", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
        header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        lines = [f"POST /v2/models/{model}/infer HTTP/1.1", f"Host: {address}"]
        lines += [f"Content-Length: {len(header) + len(data)}", f"Inference-Header-Content-Length: {len(header)}"]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + header + data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\ncontent-length: (\d+)", head.lower())
        await reader.readexactly(int(length[1]) if length else 0)
        return {b"200": "", b"429": "refused"}.get(head.split()[1], "error")

    return send


async def grpc_client(address: str, model: str) -> Send:
    import grpc

    from wideresnet.serve.grpc.descriptors import message_classes

    request_class, response_class = message_classes("inference.GRPCInferenceService", "ModelInfer")
    channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    call = channel.unary_unary(METHOD, request_class.SerializeToString, response_class.FromString)

    async def send(image: bytes) -> str:
        data = struct.pack("<I", len(image)) + image
        tensor = {"name": "pictures", "shape": [1], "datatype": "BYTES"}
        try:
            await call(request_class(model_name=model, inputs=[tensor], raw_input_contents=[data]))
        except grpc.aio.AioRpcError as error:
            return "refused" if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else "error"
        return ""

    return send


async def measure(url: str, model: str, clients: int, seconds: float, images: list[bytes]) -> dict[str, Any]:
    scheme, _, address = url.partition("://")
    connect = {"http": http_client, "grpc": grpc_client}[scheme]
    senders = [await connect(address, model) for _ in range(clients)]
    counts, times = {"": 0, "refused": 0, "error": 0}, []
    started = time.perf_counter()

    async def ask(send: Send, number: int) -> None:
        while (begun := time.perf_counter()) < started + seconds:
            counts[await send(images[number % len(images)])] += 1
            times.append(1000 * (time.perf_counter() - begun))
            number += clients

    await asyncio.gather(*(ask(send, number) for number, send in enumerate(senders)))
    times.sort()
    names = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    percentiles = {name: round(times[min(len(times) - 1, int(part * len(times)))], 3) for name, part in names.items()}
    totals = {"requests": len(times), "seconds": round(time.perf_counter() - started, 3)}
    return totals | percentiles | {"refused": counts["refused"], "errors": counts["error"]}


if __name__ == "__main__":
    url, model, clients, seconds, *paths = sys.argv[1:]
    images = [Path(path).read_bytes() for path in paths]
    print(json.dumps(asyncio.run(measure(url, model, int(clients), float(seconds), images))))
