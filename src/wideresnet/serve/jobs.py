"""Jobs of a model's worker, and the threads that take them in the order of their turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import ImageError
from wideresnet.images.crops import Crops
from wideresnet.logits import check_logits, softmax
from wideresnet.prediction_sets import p_values
from wideresnet.records import Batch, Uncertainty
from wideresnet.serve.admission import Permit

ModelInput = bytes | NDArray[np.uint8]             # an encoded image, or preprocessed RGB uint8 [N, S, S, 3]
Result = TypeVar("Result")
Postprocess = Callable[[NDArray[np.float32], Batch], Result]      # logits [N, C] of a batch to the result

STAGES = ("decode", "wait", "infer")


@dataclass(frozen=True, eq=False)
class Outcome(Generic[Result]):
    """The result of one input or its error, and the seconds of those of ``STAGES`` that ran.

    Of a calibrated model also the p-value of each image, and the probability of its likeliest class.
    """

    result: Result | None
    error: Exception | None
    seconds: dict[str, float]
    certainties: list[tuple[float, float]] = field(default_factory=list)


@dataclass(eq=False)
class Job(Generic[Result]):
    """One input on its way through the stages; its permit is held for each of its ``images``."""

    item: ModelInput
    images: int
    permit: Permit
    postprocess: Postprocess[Result]
    future: asyncio.Future[Outcome[Result]]
    stage_started: float
    first: int                                     # index of its first image in the request
    turn: float = 0.0                              # order in the pools that decode
    slow_bytes: int = 0                            # of an image that was set aside
    crops: Crops | None = None                     # of an encoded image
    member: int = 0                                # of a cascade, which the unanswered images have reached
    unanswered: NDArray[np.bool_] | None = None    # [N]: images that no member has answered yet
    logits: NDArray[np.float32] | None = None      # [N, C] of those that reached a member
    members: NDArray[np.int64] | None = None       # [N]: those that answered
    seconds: dict[str, float] = field(default_factory=dict)    # of the stages that ran
    outcome: Outcome[Result] | None = None
    pixels: NDArray[np.uint8] | None = None        # for an observer, as its answers: all crops, of a cascade the first
    answers: NDArray[np.float32] | None = None     # [N, C]
    ends: Iterator[int] = field(default_factory=count)         # one for each call of ``end``

    def end(self) -> bool:
        """Return True for the first call: only then the job is delivered and its permit released.

        There may be two: a pool that cannot start a thread raises, but keeps the call for its other threads.
        """
        return next(self.ends) == 0                # next is atomic

    def end_stage(self, stage: str, now: float) -> None:
        """Add the time since the previous stage ended to ``stage``."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.stage_started
        self.permit.context.stages.append((stage, self.stage_started, now))
        self.stage_started = now

    def add_answers(self, logits: NDArray[np.float32], unsure: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Add a member's logits of the unanswered images, some of them ``unsure``; return the logits [N, C] of all."""
        if self.unanswered is None or self.logits is None or self.members is None:
            self.unanswered, self.logits = np.ones(len(logits), bool), logits.copy()
            self.members = np.zeros(len(logits), np.int64)
        self.logits[self.unanswered], self.members[self.unanswered] = logits, self.member
        self.unanswered[self.unanswered] = unsure
        return self.logits

    def finish(self, logits: NDArray[np.float32], batch: Batch, model: Uncertainty | None) -> None:
        """Set the outcome from the job's logits [N, C]; ``model``: of a calibrated network."""
        try:
            check_logits(logits)
            pairs = zip(p_values(batch, model), softmax(logits).max(1).tolist(), strict=True) if model else ()
            self.outcome = Outcome(self.postprocess(logits, batch), None, self.seconds, list(pairs))
            self.answers = logits
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Set the outcome to ``error``; even SystemExit ends this job only."""
        reported = error if isinstance(error, Exception) else RuntimeError(repr(error))
        if isinstance(error, ImageError):          # without its traceback, whose frames hold this job and the image
            reported = ImageError(error.message, error.hint)
        self.outcome = Outcome(None, reported, self.seconds)


class OrderedPool:
    """Threads that take the job of the earliest turn."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._jobs: list[tuple[float, int, Job[Any]]] = []       # a heap: each of its functions is atomic
        self._numbers = count()

    def submit(self, job: Job[Any], call: Callable[[Job[Any]], None]) -> None:
        """Schedule a ``call`` with a job. Raises RuntimeError where the system starts no more threads."""
        heappush(self._jobs, (job.turn, next(self._numbers), job))
        self._threads.submit(self._call_next, call)

    def _call_next(self, call: Callable[[Job[Any]], None]) -> None:
        call(heappop(self._jobs)[-1])


Decoded = tuple[Job[Any], NDArray[np.uint8]]     # a job and its pixels, RGB uint8 [N, S, S, 3]
