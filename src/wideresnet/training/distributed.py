"""Data-parallel training over several processes: torchrun starts them, gloo (or nccl between GPUs) connects them.

Design:
- Each rank trains on its rows of every batch; gradients are averaged, so that all ranks hold the same weights. Rank 0
  alone writes files and prints. A run of one process is a group of size 1 whose methods communicate nothing.
- Every rank calls the collective methods in the same order. A rank that fails would leave the others waiting, so
  errors of one rank are exchanged and raised on all (``raise_on_all_ranks``).
- Tensors are averaged in one message, not with DistributedDataParallel: its buckets change after the first step and
  with them the order of additions, and a resumed run would not end with the same bits (``_as_one_message``).
- torchrun keeps its store over restarts; a new group must not read addresses of dead processes (``_fresh_store``).
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from wideresnet.errors import ConfigError, TrainingError, WrnError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

TIMEOUT = timedelta(minutes=30)                    # for slower ranks, such as those still reading images
T = TypeVar("T")
BatchRows = TypeVar("BatchRows", Tensor, tuple[Tensor, ...])


@dataclass(frozen=True)
class Group:
    """The processes of a run, as seen by the process of one ``rank``.

    Methods that communicate must be called by every rank, in the same order. They raise TrainingError when another
    rank is unreachable.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1                            # processes on this machine
    device: str = "cpu"                            # of this rank, as torch names it

    @property
    def is_rank0(self) -> bool:
        """True for the rank that writes files and prints."""
        return self.rank == 0

    def own_rows(self, rows: BatchRows) -> BatchRows:
        """Return this rank's rows of a batch, or this rank's batches of several: every ``size``-th."""
        return rows[self.rank :: self.size]

    def threads(self, cpus: int) -> int:
        """Return the number of threads for this rank on a machine of ``cpus``; at least 1."""
        return max(1, cpus // self.local_size)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each float tensor by its mean over all ranks."""
        if self.size > 1:
            _as_one_message(list(tensors), self._mean)

    def copy_from_rank0(self, tensors: Iterable[Tensor]) -> None:
        """Replace each float tensor by rank 0's."""
        if self.size > 1:
            floats = [tensor for tensor in tensors if tensor.is_floating_point()]
            _as_one_message(floats, lambda flat: dist.broadcast(flat, 0))

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, by rank, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _connection_errors():
            dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: T, source: int = 0) -> T:
        """Return the ``value`` of rank ``source`` on every rank."""
        if self.size == 1:
            return value
        values = [value]
        with _connection_errors():
            dist.broadcast_object_list(values, source)
        return values[0]

    def broadcast_from_rank0(self, function: Callable[[], T]) -> T:
        """Call ``function`` on rank 0 only; return its result, or raise its WrnError, on every rank."""
        with self.raise_on_all_ranks():
            value: Any = function() if self.is_rank0 else None
        return self.broadcast(value)

    @contextmanager
    def raise_on_all_ranks(self) -> Iterator[None]:
        """Raise a WrnError from the body of any rank on every rank, so that no rank waits for one that failed."""
        own_error = None
        try:
            yield
        except WrnError as error:
            if self.size == 1:
                raise
            own_error = error
        for rank, error_of_rank in enumerate(self.gather(own_error)):
            if error_of_rank is not None:
                suffix = f" (on rank {rank})" if rank else ""
                raise type(error_of_rank)(f"{error_of_rank.message}{suffix}", error_of_rank.hint) from own_error

    def _mean(self, flat: Tensor) -> None:
        dist.all_reduce(flat)
        flat /= self.size


SINGLE_PROCESS = Group()


@contextmanager
def join(device: str = "auto") -> Iterator[Group]:
    """Join the group that torchrun started, or make a group of this process alone; leave it at the end.

    Each rank gets its own GPU. Raises ConfigError where there is no GPU for a rank, TrainingError where the ranks do
    not reach each other.
    """
    if not _started_by_torchrun():
        yield Group(device=find_device(device))
        return
    # torch imports this with the first optimiser. Imported inside a group, it keeps a reference to the group, whose
    # threads then outlive the run and sometimes abort the process at exit.
    import_module("torch._dynamo")
    from torch.distributed.rendezvous import rendezvous

    # torch has no function for these environment variables of torchrun.
    local_rank, local_size = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = find_device(device, local_rank)
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    with _connection_errors():
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        store = _fresh_store(store, rank, size)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield Group(rank, size, local_size, device)
    finally:
        dist.destroy_process_group()


def find_device(choice: str, local_rank: int = 0) -> str:
    """Return the torch device of the process ``local_rank`` of this machine.

    ``choice`` is "cpu", "cuda", or "auto" (a GPU if there is one). Raises ConfigError where there is no GPU for it.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if choice == "cpu" or (choice == "auto" and not count):
        return "cpu"
    if local_rank >= count:
        problem = f"no GPU for process {local_rank + 1} of this machine: torch finds {count}"
        raise ConfigError(problem, hint="use --device cpu, fewer processes, or a build of torch with CUDA")
    torch.cuda.set_device(local_rank)
    return f"cuda:{local_rank}"


def check_group(group: Group, batch_size: int) -> None:
    """Raise ConfigError if ``group`` cannot divide a batch, or torchrun started a command that does not join it."""
    if batch_size % group.size:
        problem = f"batch_size {batch_size} is not a multiple of the {group.size} processes"
        raise ConfigError(problem, hint="choose a multiple: batch_size counts the images of all processes together")
    if _started_by_torchrun() and not dist.is_initialized():
        raise ConfigError("torchrun supports only 'wrn train'", hint="start this command without torchrun")


def _started_by_torchrun() -> bool:
    return dist.is_available() and dist.is_torchelastic_launched()


def _fresh_store(store: Store, rank: int, size: int) -> Store:
    """Return a part of ``store`` that holds no address of a dead process.

    torchrun keeps a store over restarts (pytorch#135712), and nodes may count restarts differently. Rank 0 draws a
    random prefix and sends it to each other rank under a key that the rank drew itself, so that no key of an earlier
    start can be mistaken for one of this start.
    """
    prefix = secrets.token_hex(8)
    if rank:
        store.set(f"rank {rank}", prefix)
        prefix = store.get(prefix).decode()
        store.add(f"{prefix} known", 1)
    else:
        end = time.monotonic() + TIMEOUT.total_seconds()
        while store.add(f"{prefix} known", 0) < size - 1:
            for request in (f"rank {number}" for number in range(1, size)):
                if store.check([request]):
                    store.set(store.get(request).decode(), prefix)
            if time.monotonic() > end:
                raise RuntimeError("not all processes have started")
            time.sleep(0.01)
    return dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]


@contextmanager
def _connection_errors() -> Iterator[None]:
    """Turn the RuntimeError of a broken connection into a TrainingError."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"\[/\S+\] ", "", str(error).splitlines()[0])          # without gloo's file and line
        hint = "repeat the command to resume from the last epoch; torchrun --max-restarts does that by itself"
        raise TrainingError(f"cannot reach the other processes of this run: {reason}", hint) from error


def _as_one_message(tensors: Sequence[Tensor], communicate: Callable[[Tensor], object]) -> None:
    """Concatenate ``tensors``, let ``communicate`` change the result in place, and copy it back.

    DistributedDataParallel rebuilds its buckets after the first step. With three ranks or more the order of additions
    depends on the buckets, and a restarted run would not end with the same bits.
    """
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    with _connection_errors():
        communicate(flat)
    for tensor, values in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(values.view(tensor.shape))
