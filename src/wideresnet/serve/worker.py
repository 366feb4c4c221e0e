"""One model and its threads: images are decoded, then inferred in batches.

Work passes through two stages, joined by one queue:

    submit      event loop: a job is one encoded image, or one batch of pixels
    _decode     thread pool; over all models at most ``decode_slots`` at a time, one per CPU
    _decode_slow  instead where pixels do not bound the time: threads that wait for processes of ``images/isolated``
    _decoded    the queue of jobs with their pixels
    _infer      thread pool; two threads per stream of the engine, so that no stream waits for its next batch
    _complete   event loop again, woken once per batch: statistics, permits, futures

For the smallest networks the work of threads that wake each other, and wait for the interpreter lock, is more than the
work on an image. So small images, ``MAX_SMALL_IMAGES`` of a request, are decoded by ``submit`` itself; all those of one
turn of the event loop enter the queue together.

The networks of a cascade are members with a queue each, of one pool of threads. A job whose images a member passes on
enters the next member's queue, and so its next batch; if that member takes another crop, after ``_decode`` once more.
The seconds of all members add up. At most one member runs for each stream, since all of them may use every CPU.

Nothing waits for a batch to fill. A thread takes its part of the jobs that are decoded at that moment: a single job
while the engine keeps up, and up to ``batch`` images under load, which cost less each. An ``_infer`` is scheduled for
jobs that enter the queue, and by each ``_infer`` that leaves some, so none is left over; one that finds the queue empty
ends at once. A batch that fails is run again job by job, so that an error only affects the request that caused it.
Cancelled jobs are skipped at both stages.

A request of many images does not delay others: each image takes its turn ``SPACING`` after the one before it. Slow
images have a queue of their own, with the same capacity.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from itertools import groupby
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle.files import GRAPH
from wideresnet.classifier import Classifier
from wideresnet.datasets.labels import Language, translated
from wideresnet.engines.cascade import CascadeEngine
from wideresnet.engines.throughput import BATCH
from wideresnet.errors import ConfigError, ImageError
from wideresnet.images.crops import Crops, ImageReader
from wideresnet.images.decode import Limits
from wideresnet.images.isolated import is_slow
from wideresnet.images.workload import workload
from wideresnet.machine import available_cpus
from wideresnet.records import Batch, Labels, LabelScore
from wideresnet.report.escape import json_text
from wideresnet.serve.admission import Permit, RequestContext
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.jobs import Decoded, Job, ModelInput, OrderedPool, Outcome, Postprocess, Result
from wideresnet.serve.statistics import CascadeStatistics, InferenceStatistics

# Gets every answered job: its input, crops [N, S, S, 3], logits [N, C], context, and index of its first image.
Observer = Callable[[ModelInput, NDArray[np.uint8], NDArray[np.float32], RequestContext, int], None]

SPACING = 0.25                                     # seconds: about the longest that a thread decodes an image
# A small image has at most SMALL_WORK bytes, a ``workload`` of at most SMALL_WORK, and crops with sides of at most
# SMALL_CROP pixels. At most MAX_SMALL_IMAGES small images of a request are decoded on the event loop.
SMALL_WORK, SMALL_CROP, MAX_SMALL_IMAGES = 2**13, 64, 16


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
        self._streams = classifier.engine.info.streams
        self._member_turns = threading.BoundedSemaphore(self._streams)
        self._decode_pool = OrderedPool(classifier.engine.info.threads, f"{name} decode")
        self._slow_pool = OrderedPool(available_cpus(), f"{name} decode slow")
        self._inference_pool = ThreadPoolExecutor(2 * self._streams, thread_name_prefix=f"{name} infer")
        self._has_small_crops = all(spec.crop <= SMALL_CROP for spec in classifier.card.specs)
        self._ready: list[Decoded] = []           # of this turn of the event loop
        self._decoded: list[deque[Decoded]] = [deque() for _ in (cascade.members if cascade else [None])]
        self._running: list[deque[None]] = [deque() for _ in self._decoded]      # an element for each batch
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
        job = Job(item, images, permit, postprocess, loop.create_future(), started, first, turn)
        permit.acquire(images)
        if first < MAX_SMALL_IMAGES and self._is_quick(item):
            self._ready += self._read_pixels(job, self._images.read, quick=True)
            loop.call_soon(self._queue_ready)
            return job.future
        try:
            self._decode_pool.submit(job, self._decode)
        except RuntimeError:                       # the system starts no more threads
            if job.end():
                permit.release(images)
            raise
        return job.future

    def _is_quick(self, item: ModelInput) -> bool:
        """Return whether an input is read in less time than it takes to wake a thread."""
        if not isinstance(item, bytes) or not self._has_small_crops or len(item) > SMALL_WORK:
            return not isinstance(item, bytes)
        with suppress(ImageError):                 # for the thread that decodes it
            return (work := workload(item)) <= SMALL_WORK and not is_slow(work, self._limits)
        return False

    def _queue_ready(self) -> None:
        ready, self._ready = self._ready, []
        self._queue(0, ready)

    def _decode(self, job: Job[Any]) -> None:
        with self._decode_slots:
            decoded = self._read_pixels(job, self._images.read)
        self._queue(job.member, decoded)

    def _decode_slow(self, job: Job[Any]) -> None:
        self._queue(job.member, self._read_pixels(job, self._images.read_in_process))

    def _read_pixels(self, job: Job[Any], read: Callable[[bytes], Crops], *, quick: bool = False) -> list[Decoded]:
        """Return the job with its pixels, or nothing where it has failed or, not ``quick``, was set aside."""
        job.end_stage("wait", time.perf_counter())
        if job.permit.context.cancelled:
            self._fail([job], TimeoutError())
            return []
        try:
            pixels = job.item
            if isinstance(pixels, bytes):
                if not (quick or job.slow_bytes or job.crops) and is_slow(workload(pixels), self._limits):
                    job.future.get_loop().call_soon_threadsafe(self._set_aside, job)
                    return []
                job.crops = job.crops or read(pixels)
                pixels = job.crops[self._crop_of(job.member)][None]
            job.end_stage("decode", time.perf_counter())
            job.pixels = pixels if job.pixels is None else job.pixels
        except BaseException as error:
            job.end_stage("decode", time.perf_counter())
            self._fail([job], error)
            return []
        return [(job, pixels)]

    def _set_aside(self, job: Job[Any]) -> None:
        try:
            job.permit.set_aside(len(job.item))
            job.slow_bytes = len(job.item)
            self._slow_pool.submit(job, self._decode_slow)
        except (ApiError, RuntimeError) as error:
            self._fail([job], error)

    def _crop_of(self, member: int) -> int:
        """Return the index of the preprocessing of a cascade's member."""
        return self.classifier.engine.crop_of[member] if isinstance(self.classifier.engine, CascadeEngine) else 0

    def _queue(self, member: int, decoded: Sequence[Decoded]) -> None:
        """Put jobs with the pixels of their unanswered images into the queue of a member."""
        if not decoded:
            return
        self._decoded[member].extend(decoded)
        try:
            self._inference_pool.submit(self._infer, member)
        except RuntimeError as error:              # the system starts no more threads
            self._fail([job for job, _ in decoded], error)

    def _pass_on(self, decoded: Sequence[Decoded], member: int) -> None:
        """Move jobs with the pixels of their unanswered images to a member."""
        for job, _ in decoded:
            job.member = member
        if self._crop_of(member) == self._crop_of(member - 1):
            self._queue(member, decoded)
            return
        for job, _ in decoded:
            try:
                self._decode_pool.submit(job, self._decode)
            except RuntimeError as error:          # the system starts no more threads
                self._fail([job], error)

    def _infer(self, member: int) -> None:
        queue, running = self._decoded[member], self._running[member]
        parts = self._streams - len(running) if len(running) < self._streams else self._streams
        running.append(None)
        try:
            batch = self._take_batch(queue, parts)
            if queue:
                with suppress(RuntimeError):       # the system starts no more threads: this one is left
                    self._inference_pool.submit(self._infer, member)
            if batch:
                self._run(batch, member)
        finally:
            running.pop()

    def _take_batch(self, decoded: deque[Decoded], parts: int) -> list[Decoded]:
        """Take one ``parts``-th of the decoded jobs from a queue, at most about ``batch`` images."""
        batch: list[Decoded] = []
        room = min(self._batch, -(-len(decoded) // parts))
        with suppress(IndexError):                 # other threads take jobs, too
            while room > 0:
                job, pixels = decoded.popleft()
                if job.permit.context.cancelled:
                    self._fail([job], TimeoutError())
                    continue
                batch.append((job, pixels))
                room -= len(pixels)
        return batch

    def _run(self, batch: list[Decoded], member: int) -> None:
        """Infer a batch with a member; where that fails, infer its jobs one by one."""
        started, finished, passed_on = time.perf_counter(), list[Job[Any]](), list[Decoded]()
        for job, _ in batch:
            job.end_stage("wait", started)
        try:
            stacked = np.concatenate([pixels for _, pixels in batch])
            joined, logits, unsure = self._run_member(member, Batch(stacked, ()))
            self.statistics.count_run()
        except BaseException as error:
            if len(batch) > 1:
                for decoded in batch:
                    self._run([decoded], member)
                return
            batch[0][0].end_stage("infer", time.perf_counter())
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
                    if passed.any():
                        passed_on.append((job, pixels[passed]))
                        continue
                finished.append(job)
                scores = None if joined.known_scores is None else joined.known_scores[start:end]
                answered = Batch(pixels, (), known_scores=scores, members=job.members)
                job.finish(answers, answered, self.classifier.card.uncertainty)
        if passed_on:
            self._pass_on(passed_on, member + 1)
        self._deliver(finished)

    def _run_member(self, member: int, batch: Batch) -> tuple[Batch, NDArray[np.float32], NDArray[np.bool_] | None]:
        """Return a batch that has run, its logits, and which images a cascade's member passes on."""
        if not isinstance(engine := self.classifier.engine, CascadeEngine):
            return *self.classifier.run(batch), None
        with self._member_turns:
            return batch, *engine.run_member(member, batch.pixels)

    def _fail(self, jobs: list[Job[Any]], error: BaseException) -> None:
        for job in jobs:
            job.fail(error)
        self._deliver(jobs)

    def _deliver(self, jobs: list[Job[Any]]) -> None:
        """Pass finished jobs to their event loop, which is woken once for all of them."""
        ended = [job for job in jobs if job.end()]
        for job in jobs:                           # also of one that had ended before its image was decoded
            if job.crops:
                self._images.release(job.crops)
        for loop, group in groupby(ended, lambda job: job.future.get_loop()):
            with suppress(RuntimeError):           # the loop is closed
                loop.call_soon_threadsafe(self._complete, list(group))

    def _complete(self, jobs: list[Job[Any]]) -> None:
        succeeded = [job for job in jobs if job.outcome and not job.outcome.error]
        self.statistics.add_jobs((job.images, job.seconds) for job in succeeded)
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
