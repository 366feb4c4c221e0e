"""Several processes, one run: torchrun starts them, gloo (or nccl, between GPUs) carries what they tell each other.

Each rank learns from its rows of every batch; gradients are averaged, so that all ranks go on with the same weights.
Rank 0 alone writes files and speaks. A run of one process is a group of one, which tells nobody anything.
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
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from wideresnet.errors import ConfigError, TrainingError, WrnError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

PATIENCE = timedelta(minutes=30)                    # with ranks that are slower, as when they read images
T = TypeVar("T")
Rows = TypeVar("Rows", Tensor, tuple[Tensor, ...])


@dataclass(frozen=True)
class Group:
    """The processes of a run as one of them, ``rank``, sees them.

    What takes part in every rank's talk must be called by every rank, in the same order. Raises TrainingError where
    another rank cannot be reached any more.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1                            # of them on this machine
    device: str = "cpu"                            # where this rank computes, as torch names it

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def share(self, rows: Rows) -> Rows:
        """Of the rows of a batch, or of several batches, those of this rank."""
        return rows[self.rank :: self.size]

    def threads(self, cpus: int) -> int:
        """How many of this machine's ``cpus`` are for one rank; at least 1."""
        return max(1, cpus // self.local_size)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over all ranks in place of each float tensor."""
        if self.size > 1:
            _as_one(list(tensors), self._mean)

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Put what rank 0 has in place of each float tensor."""
        if self.size > 1:
            _as_one([each for each in tensors if each.is_floating_point()], lambda flat: dist.broadcast(flat, 0))

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _talking():
            dist.all_gather_object(values, value)
        return values

    def send(self, value: T, source: int = 0) -> T:
        """The ``value`` of rank ``source``, on every rank."""
        if self.size == 1:
            return value
        values = [value]
        with _talking():
            dist.broadcast_object_list(values, source)
        return values[0]

    def from_first(self, work: Callable[[], T]) -> T:
        """What ``work`` gives on rank 0, which alone does it, on every rank; its WrnError likewise."""
        with self.agreed():
            value: Any = work() if self.first else None
        result: T = self.send(value)
        return result

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """A WrnError of any rank inside is raised on every rank, so that none waits for one that has given up."""
        error = None
        try:
            yield
        except WrnError as found:
            if self.size == 1:
                raise
            error = found
        for rank, other in enumerate(self.gather(error)):
            if other is not None:
                where = f" (on rank {rank})" if rank else ""
                raise type(other)(f"{other.message}{where}", other.hint) from error

    def _mean(self, flat: Tensor) -> None:
        dist.all_reduce(flat)
        flat /= self.size


SINGLE_PROCESS = Group()


@contextmanager
def join(device: str = "auto") -> Iterator[Group]:
    """The group of this process: those that torchrun started with it, or itself alone. It is left at the end.

    Each rank has a GPU of its own. Raises ConfigError where there is none for it.
    """
    if not _launched():
        yield Group(device=find_device(device))
        return
    # The first optimiser imports it. Imported while there is a group, it keeps the group, whose threads are then still
    # there when Python ends, and now and then abort the process after a whole run.
    import_module("torch._dynamo")
    from torch.distributed.rendezvous import rendezvous

    # torchrun tells these in the environment, and torch has no function for them.
    local_rank, local_size = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = find_device(device, local_rank)
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    with _talking():
        store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
        dist.init_process_group(backend, store=_unused(store, rank, size), rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Group(rank, size, local_size, device)
    finally:
        dist.destroy_process_group()


def find_device(wanted: str, local_rank: int = 0) -> str:
    """The device of the rank with that number on this machine: ``wanted`` is "cpu", "cuda", or "auto" for either.

    Raises ConfigError where there is no GPU for it.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and not there):
        return "cpu"
    if local_rank >= there:
        raise ConfigError(
            f"process {local_rank + 1} of this machine has no GPU: torch finds {there}",
            hint="--device cpu, fewer processes, or a build of torch with CUDA",
        )
    torch.cuda.set_device(local_rank)
    return f"cuda:{local_rank}"


def check_group(group: Group, batch_size: int) -> None:
    """Raises ConfigError where a batch does not divide, or where torchrun started what knows no group."""
    if batch_size % group.size:
        raise ConfigError(
            f"a batch of {batch_size} does not divide among {group.size} processes",
            hint="batch_size counts the images of all of them together; choose a multiple",
        )
    if _launched() and not dist.is_initialized():
        raise ConfigError("of all commands torchrun can start 'train' alone", hint="start this one without torchrun")


def _launched() -> bool:
    return dist.is_available() and dist.is_torchelastic_launched()


def _unused(store: Store, rank: int, size: int) -> Store:
    """A part of ``store`` in which no process that is gone has left its address.

    torchrun keeps a store over restarts (pytorch#135712), and counts of restarts differ between nodes. Rank 0 draws a
    name for the part; it answers the others under names of theirs, which nobody can have known before.
    """
    name = secrets.token_hex(8)
    if rank:
        store.set(f"rank {rank}", name)
        name = store.get(name).decode()
        store.add(f"{name} known", 1)
    else:
        end = time.monotonic() + PATIENCE.total_seconds()
        while store.add(f"{name} known", 0) < size - 1:
            for asking in (f"rank {other}" for other in range(1, size)):
                if store.check([asking]):
                    store.set(store.get(asking).decode(), name)
            if time.monotonic() > end:
                raise RuntimeError("not all of them have begun")
            time.sleep(0.01)
    return dist.PrefixStore(name, store)  # type: ignore[attr-defined]


@contextmanager
def _talking() -> Iterator[None]:
    """A broken connection in words: gloo knows only RuntimeErrors."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"\[/\S+\] ", "", str(error).splitlines()[0])          # without gloo's file and line
        raise TrainingError(
            f"the processes of this run do not reach each other: {reason}",
            hint="the same command goes on from the last whole epoch; torchrun --max-restarts does that by itself",
        ) from error


def _as_one(tensors: Sequence[Tensor], talk: Callable[[Tensor], object]) -> None:
    """Let ``talk`` change all tensors in one message.

    DistributedDataParallel cuts messages anew after its first step. The order in which three ranks or more are added
    up depends on the cuts, and a run that was restarted would not end with the same bits.
    """
    flat = torch.cat([each.reshape(-1) for each in tensors])
    with _talking():
        talk(flat)
    parts = torch.split(flat, [each.numel() for each in tensors])
    for each, part in zip(tensors, parts, strict=True):
        each.copy_(part.view(each.shape))


def share_norms(model: nn.Module, group: Group) -> None:
    """Let the batch norms of ``model`` use the statistics of all ranks' rows; parameters and keys stay the same."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, SharedNorm(child, group))


class SharedNorm(nn.BatchNorm2d):
    """Batch norm over the rows of all ranks, each of which has as many; torch's SyncBatchNorm refuses CPUs."""

    def __init__(self, norm: nn.BatchNorm2d, group: Group) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict())
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, H, W] of this rank -> the same, normalised over the batches of all ranks."""
        if not self.training:
            return super().forward(x)
        mean, variance = self._statistics(x)
        y: Tensor = _Normalise.apply(x, self.weight, self.bias, mean, variance, self)  # type: ignore[no-untyped-call]
        return y

    @torch.no_grad()
    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of all ranks' values, float32 [C] each; the running ones follow them."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        variance, mean = (each.double() for each in torch.var_mean(x.float(), (0, 2, 3), correction=0))
        moments = torch.stack((mean, variance + mean**2))
        self.group.average([moments])
        mean, variance = moments[0].float(), (moments[1] - moments[0] ** 2).float()
        count = self.group.size * x[:, 0].numel()
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        self.num_batches_tracked += 1
        return mean, variance


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance are those of all ranks' x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, norm: SharedNorm
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.norm = norm
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=norm.eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        norm: SharedNorm = ctx.norm
        # As if the statistics were constants; then what the loss of all ranks owes to x by way of them.
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, norm.eps, [True, True, True]
        )
        means = torch.stack((of_bias, of_weight)) / x[:, 0].numel()
        norm.group.average([means])
        shape = (1, -1, 1, 1)
        inverse = (variance + norm.eps).rsqrt()
        centred = (x - mean.view(shape)) * inverse.view(shape)
        by_way = (means[0].view(shape) + centred * means[1].view(shape)) * (weight * inverse).view(shape)
        return (of_x - by_way).to(x.dtype), of_weight, of_bias, None, None, None
