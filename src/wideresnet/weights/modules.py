"""The layers that the tensors of a file form: by their names in the spelling of any library, and their shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["conv", "norm", "linear", "other"]
Tokens = tuple[str | int, ...]

# The last part of a tensor's name in torch, Keras and Flax -> its role in torch.
ROLES: Final = {
    "weight": "weight", "kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias",
    "running_mean": "running_mean", "moving_mean": "running_mean",
    "running_var": "running_var", "moving_variance": "running_var", "num_batches_tracked": "num_batches_tracked",
}  # fmt: skip
_ROLE: Final = re.compile(rf"(.*?)[./_]?({'|'.join(ROLES)})(?::0)?", re.DOTALL)
# Words in names of layers that training uses beside a network, not between images and logits.
AUXILIARY: Final = {
    "aux", "auxiliary", "criterion", "loss", "teacher", "discriminator", "rot", "rotation", "proj", "projection",
    "projector", "queue", "memory", "metric", "metrics", "sub", "unused", "idle",
}  # fmt: skip
# Words of names under which training scripts keep the state of optimisers, with tensors shaped like weights.
OPTIMISER: Final = {"opt", "optim", "optimizer", "optimizers", "momentum", "exp", "scheduler", "scaler", "grads"}
AVERAGES: Final = {"ema", "averaged", "average", "swa"}
COUNTERS: Final = {"total_ops", "total_params"}    # of the tool thop, inside every layer
# Names of tensors from which torch computes a weight: weight and spectral norm, pruning.
PARAMETRISED: Final = re.compile(r"(.*\.)?(weight_(orig|mask|g|u|v)|parametrizations\..*)")


@dataclass(frozen=True, eq=False)
class Module:
    """One layer: the names of its tensors in the file by role, and the shape of its weight."""

    name: str                                      # "block1.layer.0.conv1"
    tokens: Tokens                                 # ("block", 1, "layer", 0, "conv", 1)
    kind: Kind
    shape: tuple[int, ...]
    tensors: Mapping[str, str]                     # "weight" -> "block1.layer.0.conv1.weight"
    index: int                                     # of its first tensor in the file

    @property
    def channels(self) -> tuple[int, int]:
        """Channels in and out of a convolution or linear layer; twice the channels of a norm."""
        return self.shape[1 if len(self.shape) > 1 else 0], self.shape[0]


def group_modules(shapes: Mapping[str, tuple[int, ...]]) -> list[Module]:
    """Return the layers of a file in its order; tensors that are no layer's, such as buffers, have kind "other"."""
    tensors: dict[str, dict[str, str]] = {}
    for name, shape in shapes.items():
        match = _ROLE.fullmatch(name)
        module, role = (match[1], ROLES[match[2]]) if match else (name, "weight")
        if not match and (len(shape) != 4 or shape[0] == 1 or PARAMETRISED.fullmatch(name)):
            role = "value"                         # functional code gives a convolution's weight the layer's name
        if role in tensors.get(module, ()):        # "fc.gamma" beside "fc.weight"
            module, role = name, "value"
        if role.startswith("running"):             # szagoruyko's older files keep these apart, under "stats"
            module = re.sub(r"\bstats\.", "params.", module)
        tensors.setdefault(module, {})[role] = name
    return [_module(name, index, tensors[name], shapes) for index, name in enumerate(tensors)]


def tokenise(name: str) -> Tokens:
    """Split ``sub_block1.layer.0`` into ``("sub_block", 1, "layer", 0)``: words and numbers."""
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"\d{1,9}|[^\W\d]+", name))


def words_of(tokens: Tokens) -> set[str]:
    """Return the words of a name in lower case, split at underscores."""
    return {word for token in tokens if isinstance(token, str) for word in token.lower().split("_")}


def natural_key(tokens: Tokens) -> tuple[tuple[bool, int, str], ...]:
    """Return a key that sorts numbers by value, and before words."""
    return tuple((False, token, "") if isinstance(token, int) else (True, 0, token) for token in tokens)


def is_auxiliary(tokens: Tokens) -> bool:
    """Return True if a word of a name marks a layer that is no part of the network for inference."""
    return not {*words_of(tokens), *tokens[-1:]}.isdisjoint(AUXILIARY | OPTIMISER | AVERAGES | COUNTERS)


def common_prefix(first: Tokens, second: Tokens) -> Tokens:
    """Return the tokens with which both begin."""
    length = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    return first[: min(len(first), len(second)) if length is None else length]


def differ_in_number(first: Tokens, second: Tokens) -> bool:
    """Return True if two names have numbers where they first differ."""
    shared = len(common_prefix(first, second))
    return all(isinstance(token, int) for tokens in (first, second) for token in tokens[shared : shared + 1] or ("",))


def _module(name: str, index: int, tensors: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> Module:
    shape = shapes[tensors["weight"]] if "weight" in tensors else ()
    statistics = {shapes.get(tensors.get(role, "")) for role in ("bias", "running_mean", "running_var")}
    kind: Kind = "other"
    plain = tensors.keys() <= {"weight", "bias"} and shapes.get(tensors.get("bias", ""), shape[:1]) == shape[:1]
    if len(shape) == 4 and shape[2] == shape[3] and plain:
        kind = "conv"
    elif len(shape) == 2 and plain:
        kind = "linear"
    elif len(shape) == 1 and statistics == {shape}:
        kind = "norm"
    tokens = tokenise(name)
    if not OPTIMISER.isdisjoint(words_of(tokens)):
        kind = "other"
    return Module(name, tokens, kind, shape, tensors, index)
