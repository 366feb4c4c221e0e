"""One model and its threads: images are decoded, then inferred in batches.

Work passes through two stages, joined by one queue:

    submit      event loop: a job is one encoded image, or one batch of pixels
    _decode     thread pool; over all models at most ``decode_slots`` at a time, one per CPU
    _decode_slow  instead where pixels do not bound the time: threads that wait for processes of ``images/isolated``
    _decoded    the queue of jobs with their pixels
    _infer      thread pool; two threads per stream of the engine, so that no stream waits for its next batch
    _complete   event loop again, woken once per batch: statistics, permits, futures

The networks of a cascade are members with a queue each, of one pool of threads. A job whose images a member passes on
enters the next member's queue, and so its next batch; before, if it takes another crop, _decode once more. The seconds
of all members add up. At most one member runs for each stream, since all of them may use every CPU.

Nothing waits for a batch to fill. A thread takes its part of the jobs that are decoded at that moment: a single job
while the engine keeps up, and up to ``batch`` images under load, which cost less each. An ``_infer`` is scheduled for
every decoded job, so none is left over; one that finds the queue empty ends at once. A batch that fails is run again
job by job, so that an error only affects the request that caused it. Cancelled jobs are skipped at both stages.

A request of many images does not delay others: each image takes its turn ``SPACING`` after the one before it. Slow
images have a queue of their own, with the same capacity.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush
from itertools import count, groupby
from typing import Any, Generic, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle.files import GRAPH
from wideresnet.classifier import Classifier
from wideresnet.datasets.labels import Language, translated
from wideresnet.engines.cascade import CascadeEngine
from wideresnet.engines.throughput import BATCH
from wideresnet.errors import ConfigError, ImageError
from wideresnet.images.decode import Limits
from wideresnet.images.isolated import is_slow
from wideresnet.images.workload import workload
from wideresnet.logits import check_logits, softmax
from wideresnet.machine import available_cpus
from wideresnet.prediction_sets import p_values
from wideresnet.records import Batch, Labels, LabelScore, Uncertainty
from wideresnet.report.escape import json_text
from wideresnet.serve.admission import Permit, RequestContext
from wideresnet.serve.crops import Crops, ImageReader
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.statistics import CascadeStatistics, InferenceStatistics

ModelInput = bytes | NDArray[np.uint8]             # an encoded image, or preprocessed RGB uint8 [N, S, S, 3]
Result = TypeVar("Result")
Postprocess = Callable[[NDArray[np.float32], Batch], Result]      # logits [N, C] of a batch to the result

# Gets every answered job: its input, crops [N, S, S, 3], logits [N, C], context, and index of its first image.
Observer = Callable[[ModelInput, NDArray[np.uint8], NDArray[np.float32], RequestContext, int], None]

SPACING = 0.25                                     # seconds: about the longest that a thread decodes an image
STAGES = ("decode", "wait", "infer")


@dataclass(frozen=True, eq=False)
class Outcome(Generic[Result]):
    """The result of one input or its error, and the seconds of each of ``STAGES``.

    Of a calibrated model also the p-value of each image, and the probability of its likeliest class.
    """

    result: Result | None
    error: Exception | None
    seconds: dict[str, float]
    certainties: list[tuple[float, float]] = field(default_factory=list)


@dataclass(eq=False)
class _Job(Generic[Result]):
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
    member: int = 0                                # of a cascade, which the open images have reached
    open: NDArray[np.bool_] | None = None          # [N]: images that no member has answered yet
    logits: NDArray[np.float32] | None = None      # [N, C] of those that reached a member
    members: NDArray[np.int64] | None = None       # [N]: those that answered
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    outcome: Outcome[Result] | None = None
    pixels: NDArray[np.uint8] | None = None        # for an observer, as its answers: all crops, of a cascade the first
    answers: NDArray[np.float32] | None = None     # [N, C]
    ends: Iterator[int] = field(default_factory=count)         # one for each call of ``end``

    def end(self) -> bool:
        """Return True for the first call: only then the job is delivered and its permit released.

        A pool that could not start a thread raises, and keeps the call for its other threads.
        """
        return next(self.ends) == 0                # next is atomic

    def end_stage(self, stage: str, now: float) -> None:
        """Add the time since the previous stage ended to ``stage``."""
        self.seconds[stage] += now - self.stage_started
        self.permit.context.stages.append((stage, self.stage_started, now))
        self.stage_started = now

    def add_answers(self, logits: NDArray[np.float32], unsure: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Add a member's logits of the open images, of which some are ``unsure``; return the logits [N, C] of all."""
        if self.open is None or self.logits is None or self.members is None:
            self.open, self.logits = np.ones(len(logits), bool), logits.copy()
            self.members = np.zeros(len(logits), np.int64)
        self.logits[self.open], self.members[self.open] = logits, self.member
        self.open[self.open] = unsure
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


class _OrderedPool:
    """Threads that take the job of the earliest turn."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._jobs: list[tuple[float, int, _Job[Any]]] = []       # a heap: each of its functions is atomic
        self._numbers = count()

    def submit(self, job: _Job[Any], call: Callable[[_Job[Any]], None]) -> None:
        """Schedule a ``call`` with a job. Raises RuntimeError where the system starts no more threads."""
        heappush(self._jobs, (job.turn, next(self._numbers), job))
        self._threads.submit(self._call_next, call)

    def _call_next(self, call: Callable[[_Job[Any]], None]) -> None:
        call(heappop(self._jobs)[-1])


_Decoded = tuple[_Job[Any], NDArray[np.uint8]]     # a job and its pixels, RGB uint8 [N, S, S, 3]


class ModelWorker:
    """One model and its threads; the module's docstring describes the stages.

    Nothing closes a worker: once its model was replaced and the last request has ended, its threads end by themselves.
    That is why it is in no reference cycle: the service excludes its first models from garbage collection.
    """

    def __init__(
        self,
        name: str,
        classifier: Classifier,
        decode_slots: threading.Semaphore,
        limits: Limits,
        source: str = "",
        batch: int = BATCH,
    ) -> None:
        self.name, self.classifier, self.source = name, classifier, source   # ``source``: from the settings
        self._decode_slots, self._limits, self._batch = decode_slots, limits, batch
        cascade, self._images = classifier.card.cascade, ImageReader(classifier.card.specs, limits)
        self.cascade = CascadeStatistics(cascade) if cascade else None
        self._member_turns = threading.BoundedSemaphore(classifier.engine.info.streams)
        self._inference_threads = 2 * classifier.engine.info.streams
        self._decode_pool = _OrderedPool(classifier.engine.info.threads, f"{name} decode")
        self._slow_pool = _OrderedPool(available_cpus(), f"{name} decode slow")
        self._inference_pool = ThreadPoolExecutor(self._inference_threads, thread_name_prefix=f"{name} infer")
        self._decoded: list[deque[_Decoded]] = [deque() for _ in (cascade.members if cascade else [None])]
        self.identity, self.statistics = describe_model(name, classifier), InferenceStatistics()
        self.identity_json = json_text(self.identity)
        self._labels = _labels_by_language(classifier)
        self.observer: Observer | None = None

    def labels(self, language: str) -> Labels:
        """Return the class names in ``language``. Raises ApiError where there are none."""
        if language not in self._labels:
            message = f"{self.name} has no labels in {language[:20]!r}"
            raise ApiError("parameters", message, " or ".join(f"?lang={language}" for language in self._labels))
        return self._labels[language]

    @property
    def languages(self) -> list[str]:
        """The languages of ``labels``."""
        return list(self._labels)

    def submit(
        self, item: ModelInput, permit: Permit, postprocess: Postprocess[Result]
    ) -> asyncio.Future[Outcome[Result]]:
        """Schedule an input and return the future of its outcome, which never raises.

        ``postprocess`` makes the result, in a thread. The permit holds the images until their work
        has ended, even if the future is cancelled. Raises ApiError when they do not fit into the queue.
        """
        images, loop = 1 if isinstance(item, bytes) else len(item), asyncio.get_running_loop()
        if not isinstance(item, bytes) and len(self.classifier.card.specs) > 1:
            raise ApiError("parameters", f"the members of {self.name} take different crops of an image", "send images")
        first, started = permit.context.images, time.perf_counter()
        turn = started + SPACING * first
        job = _Job(item, images, permit, postprocess, loop.create_future(), started, first, turn)
        permit.acquire(images)
        try:
            self._decode_pool.submit(job, self._decode)
        except RuntimeError:                       # the system starts no more threads
            if job.end():
                permit.release(images)
            raise
        return job.future

    def _decode(self, job: _Job[Any]) -> None:
        with self._decode_slots:
            self._read_pixels(job, self._images.read)

    def _decode_slow(self, job: _Job[Any]) -> None:
        self._read_pixels(job, self._images.read_in_process)

    def _read_pixels(self, job: _Job[Any], read: Callable[[bytes], Crops]) -> None:
        try:
            job.end_stage("wait", time.perf_counter())
            if job.permit.context.cancelled:
                raise TimeoutError
            pixels = job.item
            if isinstance(pixels, bytes):
                if not (job.slow_bytes or job.crops) and is_slow(workload(pixels), self._limits):
                    job.future.get_loop().call_soon_threadsafe(self._set_aside, job)
                    return
                job.crops = job.crops or read(pixels)
                pixels = job.crops[self._crop_of(job.member)][None]
            job.end_stage("decode", time.perf_counter())
            job.pixels = pixels if job.pixels is None else job.pixels
            self._queue(job, pixels)
        except BaseException as error:
            job.fail(error)
            self._deliver([job])

    def _set_aside(self, job: _Job[Any]) -> None:
        try:
            job.permit.set_aside(len(job.item))
            job.slow_bytes = len(job.item)
            self._slow_pool.submit(job, self._decode_slow)
        except (ApiError, RuntimeError) as error:
            job.fail(error)
            self._deliver([job])

    def _crop_of(self, member: int) -> int:
        """Return the index of the preprocessing of a cascade's member."""
        return self.classifier.engine.crop_of[member] if isinstance(self.classifier.engine, CascadeEngine) else 0

    def _queue(self, job: _Job[Any], pixels: NDArray[np.uint8]) -> None:
        """Put the open images of a job into the queue of its member."""
        self._decoded[job.member].append((job, pixels))
        self._inference_pool.submit(self._infer, job.member)

    def _pass_on(self, job: _Job[Any], pixels: NDArray[np.uint8]) -> None:
        """Move a job with the ``pixels`` of its open images to the next member."""
        job.member += 1
        try:
            if self._crop_of(job.member) == self._crop_of(job.member - 1):
                self._queue(job, pixels)
            else:
                self._decode_pool.submit(job, self._decode)
        except RuntimeError as error:              # the system starts no more threads
            job.fail(error)
            self._deliver([job])

    def _infer(self, member: int) -> None:
        if batch := self._take_batch(self._decoded[member]):
            self._run(batch, member)

    def _take_batch(self, decoded: deque[_Decoded]) -> list[_Decoded]:
        """Take this thread's part of the decoded jobs from a queue, at most about ``batch`` images."""
        batch: list[_Decoded] = []
        room = max(1, min(self._batch, len(decoded) // self._inference_threads))
        with suppress(IndexError):                 # other threads take jobs, too
            while room > 0:
                job, pixels = decoded.popleft()
                if job.permit.context.cancelled:
                    job.fail(TimeoutError())
                    self._deliver([job])
                    continue
                batch.append((job, pixels))
                room -= len(pixels)
        return batch

    def _run(self, batch: list[_Decoded], member: int) -> None:
        """Infer a batch with a member; where that fails, infer its jobs one by one."""
        started, finished = time.perf_counter(), list[_Job[Any]]()
        for job, _ in batch:
            job.end_stage("wait", started)
        try:
            joined, logits, unsure = self._ask(member, Batch(np.concatenate([pixels for _, pixels in batch]), ()))
        except BaseException as error:
            if len(batch) > 1:
                for decoded in batch:
                    self._run([decoded], member)
                return
            batch[0][0].fail(error)
            finished.append(batch[0][0])
        else:
            inferred, end = time.perf_counter(), 0
            for job, pixels in batch:
                start, end = end, end + len(pixels)
                job.end_stage("infer", inferred)
                answers = logits[start:end]
                if unsure is not None:
                    passed, answers = unsure[start:end], job.add_answers(answers, unsure[start:end])
                    if passed.any():               # from here on other threads may finish the job
                        self._pass_on(job, pixels[passed])
                        continue
                finished.append(job)
                scores = None if joined.known_scores is None else joined.known_scores[start:end]
                answered = Batch(pixels, (), known_scores=scores, members=job.members)
                job.finish(answers, answered, self.classifier.card.uncertainty)
        self._deliver(finished)

    def _ask(self, member: int, batch: Batch) -> tuple[Batch, NDArray[np.float32], NDArray[np.bool_] | None]:
        """Return a batch that has run, its logits, and which images a cascade's member passes on."""
        if not isinstance(engine := self.classifier.engine, CascadeEngine):
            return *self.classifier.run(batch), None
        with self._member_turns:
            return batch, *engine.ask(member, batch.pixels)

    def _deliver(self, jobs: list[_Job[Any]]) -> None:
        """Pass finished jobs to their event loop, which is woken once for all of them."""
        ended = [job for job in jobs if job.end()]
        for job in jobs:                           # also of one that had ended before its image was decoded
            if job.crops:
                self._images.release(job.crops)
        for loop, group in groupby(ended, lambda job: job.future.get_loop()):
            with suppress(RuntimeError):           # the loop is closed
                loop.call_soon_threadsafe(self._complete, list(group))

    def _complete(self, jobs: list[_Job[Any]]) -> None:
        if succeeded := [job for job in jobs if job.outcome and not job.outcome.error]:
            self.statistics.add_batch([(job.images, job.seconds) for job in succeeded])
        if self.cascade and (members := [job.members for job in succeeded if job.members is not None]):
            self.cascade.add(np.concatenate(members).tolist())
        for job in jobs:
            job.permit.release(job.images, job.slow_bytes)
            if job.outcome is not None and not job.future.done():
                job.future.set_result(job.outcome)
        for job in jobs:                           # after all are released, whatever an observer raises
            if self.observer and job.pixels is not None and job.answers is not None:
                self.observer(job.item, job.pixels, job.answers, job.permit.context, job.first)


def describe_model(name: str, classifier: Classifier) -> dict[str, Any]:
    """Return the ``model`` member of responses: names, precisions and hashes."""
    card, info = classifier.card, classifier.engine.info
    return {
        "name": name, "architecture": card.architecture, "precision": card.precision, "engine": asdict(info),
        "graph_sha256": card.files.get(GRAPH, ""), "weights_sha256": card.weights_sha256, "assumed": list(card.assumed),
    }  # fmt: skip


def describe_class(score: LabelScore, labels: Labels) -> dict[str, Any]:
    """Return the members that describe a class in responses; ``id`` where the labels have (WordNet) ids."""
    class_id = {"id": labels.ids[score.index]} if labels.ids else {}
    members = {"label": labels.names[score.index], "probability": score.probability}
    return {"index": score.index, **class_id, **members}


def _labels_by_language(classifier: Classifier) -> dict[str, Labels]:
    labels = {}
    for language in get_args(Language):
        with suppress(ConfigError):                # a user's own labels have no translation
            labels[language] = translated(classifier.labels, language, classifier.card.labels_name)
    return labels
