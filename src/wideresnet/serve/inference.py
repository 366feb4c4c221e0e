"""Inference requests of the Open Inference Protocol, the same for both transports."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from wideresnet.errors import ConfigError
from wideresnet.prediction_sets import batch_sets, check_coverage
from wideresnet.records import Batch
from wideresnet.serve.admission import Permit
from wideresnet.serve.http.errors import ApiError, as_api_error
from wideresnet.serve.http.request_body import upload_hint
from wideresnet.serve.http.request_checks import parse_decimal
from wideresnet.serve.protocol import COVERAGE, KNOWN_OUTPUT, LOGITS_OUTPUT, SET_OUTPUT, InferenceRequest
from wideresnet.serve.service import Service
from wideresnet.serve.worker import ModelWorker

MAX_BATCH = 8                                      # images of a tensor per job, so that large ones use all streams
LARGE = 2**16                                      # bytes
_SETS = 'send "parameters": {"coverage": 95}'


async def parse_in_turn(service: Service, size: int, parse: Callable[[], InferenceRequest]) -> InferenceRequest:
    """Call ``parse`` in a thread; ``size``: bytes to be parsed into Python objects, which holds the interpreter lock.

    Of large ones there is one at a time, then a pause of the same length, in which other requests are answered. Raises
    ApiError at the deadline.
    """
    turn = service.json_turn if size > LARGE else asyncio.Lock()
    try:
        async with asyncio.timeout(service.settings.deadline if size > LARGE else None):
            await turn.acquire()
    except TimeoutError:
        raise service.late_error() from None
    started, loop = time.perf_counter(), asyncio.get_running_loop()
    parsing = asyncio.ensure_future(asyncio.to_thread(parse))
    parsing.add_done_callback(lambda _: loop.call_later(time.perf_counter() - started, turn.release))
    return await asyncio.shield(parsing)           # if a client leaves, the thread goes on, and so does its turn


async def infer_request(
    service: Service, model: ModelWorker, parsed: InferenceRequest, permit: Permit,
    request: Request | None = None, seconds: float = math.inf,
) -> dict[str, NDArray[Any]]:
    """Return the outputs of a request by name: logits float32 [N, C], of calibrated models p-values [N, 1] and sets.

    ``request`` and ``seconds`` as for ``Service.wait_for``. Raises ApiError, also if one image is unreadable, and for
    sets that the model does not have.
    """
    coverage, uncertainty = parse_coverage(parsed.coverage, model, _SETS), model.classifier.card.uncertainty
    if bool(coverage) != (SET_OUTPUT in parsed.outputs):
        message = f"the output {SET_OUTPUT} and the parameter {COVERAGE} belong together, got one of them"
        raise ApiError("parameters", message, f"{_SETS}, and {SET_OUTPUT} among the outputs, or no outputs")

    def answer(logits: NDArray[np.float32], batch: Batch) -> dict[str, NDArray[Any]]:
        sets = {SET_OUTPUT: batch_sets(batch, logits, uncertainty, coverage)} if uncertainty and coverage else {}
        return {LOGITS_OUTPUT: logits} | sets

    outcomes = await service.infer(model, parsed.split(MAX_BATCH), answer, request, permit, seconds)
    for index, outcome in enumerate(outcomes):
        if outcome.error is not None:
            error = image_error(outcome.error)
            raise ApiError(error.kind, f"image {index}: {error.message}", error.hint)
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    p_values = [p_value for outcome in outcomes for p_value, _ in outcome.certainties]
    outputs = {name: np.concatenate([result[name] for result in results]) for name in results[0]}
    return outputs | {KNOWN_OUTPUT: np.array(p_values)[:, None]}


def parse_coverage(value: object, model: ModelWorker, hint: str) -> float:
    """Return a coverage in percent as a fraction; 0 for None. Raises ApiError where value or model do not fit.

    ``hint``: a request that does.
    """
    if value is None:
        return 0
    try:
        if not (coverage := (parse_decimal(str(value)) or 0) / 100) or coverage >= 50:
            raise ValueError
        check_coverage(model.classifier.card, coverage, "MODEL")    # its name here is none of 'wrn calibrate'
    except ValueError:
        raise ApiError("parameters", f"coverage must be a percentage, got {str(value)[:20]!r}", hint) from None
    except ConfigError as error:
        raise ApiError("parameters", error.message, error.hint or hint) from error
    return coverage


def image_error(error: Exception, body: bytes | None = None) -> ApiError:
    """Return the error of one image, with a hint about how it was sent if it was the ``body``, or a file in it.

    Raises ``error`` if it is not the image's.
    """
    api_error = as_api_error(error)
    if api_error.kind == "fault":
        raise error
    return ApiError(api_error.kind, api_error.message, (body is not None and upload_hint(body)) or api_error.hint)
