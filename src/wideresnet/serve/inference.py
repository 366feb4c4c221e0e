"""Inference requests of the Open Inference Protocol, the same for both transports."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from wideresnet.serve.admission import Permit
from wideresnet.serve.http.errors import ApiError, as_api_error
from wideresnet.serve.http.request_body import upload_hint
from wideresnet.serve.protocol import InferenceRequest
from wideresnet.serve.service import Service
from wideresnet.serve.worker import ModelWorker

MAX_BATCH = 8                                      # images of a tensor per job, so that large ones use all streams
LARGE = 2**16                                      # bytes


async def parse_in_turn(service: Service, size: int, parse: Callable[[], InferenceRequest]) -> InferenceRequest:
    """Call ``parse`` in a thread; ``size``: bytes to be parsed into Python objects, which holds the interpreter lock.

    Of large ones there is one at a time, then a pause of the same length, in which other requests are answered.
    """
    turn = service.json_turn if size > LARGE else asyncio.Lock()
    await turn.acquire()
    started = time.perf_counter()
    try:
        return await asyncio.to_thread(parse)
    finally:
        asyncio.get_running_loop().call_later(time.perf_counter() - started, turn.release)


async def infer_request(
    service: Service, model: ModelWorker, parsed: InferenceRequest, permit: Permit,
    request: Request | None = None, seconds: float = math.inf,
) -> tuple[NDArray[np.float32], list[float]]:
    """Return the logits float32 [N, C] of a request, and of calibrated models the p-values.

    ``request`` and ``seconds`` as for ``Service.wait_for``. Raises ApiError, also if one image is unreadable.
    """
    outcomes = await service.infer(model, parsed.split(MAX_BATCH), lambda logits, _: logits, request, permit, seconds)
    for index, outcome in enumerate(outcomes):
        if outcome.error is not None:
            error = image_error(outcome.error, parsed.images[index] if isinstance(parsed.images, list) else b"")
            raise ApiError(error.kind, f"image {index}: {error.message}", error.hint)
    logits = np.concatenate([outcome.result for outcome in outcomes if outcome.result is not None])
    return logits, [p_value for outcome in outcomes for p_value, _ in outcome.certainties]


def image_error(error: Exception, data: bytes) -> ApiError:
    """Return the error of one image, with a hint about how it was sent. Raises ``error`` if it is not the image's."""
    api_error = as_api_error(error)
    if api_error.kind == "fault":
        raise error
    return ApiError(api_error.kind, api_error.message, upload_hint(data) or api_error.hint)
