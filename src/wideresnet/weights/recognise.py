"""A weights file -> the network in it: its architecture, its tensors under our names, and a report on the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wideresnet.architectures import Architecture, with_variant
from wideresnet.errors import WeightsError
from wideresnet.layers import NORM_VECTORS, Conv, Layer, Linear, Norm
from wideresnet.weights.diagnose import no_network
from wideresnet.weights.modules import Module, group_modules
from wideresnet.weights.origin import Origin, find_origin
from wideresnet.weights.read import WeightsReader
from wideresnet.weights.structure import Network, find_networks

Tensors = dict[str, NDArray[Any]]

_UNTOUCHED: Final = {"running_mean": 0, "running_var": 1}         # statistics as torch makes a batch norm
HUGE: Final = 1e15                                 # the product of a few is no float32 any more; OpenVINO hides that


@dataclass(frozen=True, eq=False)
class Recognised:
    """A network found in a file. ``tensors`` has exactly the keys of ``architecture.tensors()``, in that order."""

    architecture: Architecture                     # with the variant that the file or its origin shows
    tensors: Tensors
    origin: Origin
    copy: str                                      # the beginning of its names in the file: "ema_model.module."
    averaged: bool                                 # whether it is a moving average of weights
    remarks: tuple[str, ...]                       # on this copy, and on one that was not taken
    headless: bool                                 # whether it has no classifier; the tensors have one of zeros
    used: dict[str, str]                           # our name of a layer -> the file's
    ignored: dict[str, str]                        # the file's name of a layer -> why it is not used


def recognise(
    reader: WeightsReader, which: str | None = None, variant: Mapping[str, object] | None = None, complete: bool = False
) -> Recognised:
    """Find the one network in a file. ``which``: "ema", "live" or the beginning of its names where there are several.

    ``variant`` has fields of the architecture that names do not show and the caller knows; if ``complete``, its other
    fields are those of the default network, whatever the origin of the file. Raises WeightsError for a file without a
    network of the family or with more than one, and for tensors that no trained network has.
    """
    modules = group_modules(reader.shapes)
    networks, faults = find_networks(modules, reader.ordered)
    if not networks:
        raise no_network(modules, faults)
    averages = [network for network in networks if network.averaged != _is_swapped(reader)]
    network = _choose(networks, averages, which, reader)
    origin = find_origin(network, modules, reader.facts, reader.read)
    architecture = with_variant(network.architecture, {**({} if complete else origin.variant), **(variant or {})})
    tensors = dict(_tensors(architecture, network.layers, reader))
    used = {name: layer.name for name, layer in network.layers.items()} | origin.buffers
    idle = {name: reason for name, reason in network.idle.items() if name not in used.values()}
    averaged, remarks = network in averages, tuple(_remarks(network, averages, reader))
    return Recognised(architecture, tensors, origin, network.prefix, averaged, remarks, network.headless, used, idle)


def _is_swapped(reader: WeightsReader) -> bool:
    """Return True for a file of MMEngine's EMAHook, which writes the average as ``state_dict``, the live one as EMA."""
    return "meta.mmengine_version" in reader.facts and "ema_state_dict.steps" in reader.shapes


def _is_blank(network: Network, reader: WeightsReader) -> bool:
    """Return True if no image went through the batch norms of a network, as in averages before ``update_bn``.

    Lightning's average never gets statistics of its own, but may begin as a copy of a trained network.
    """
    norms = [layer.tensors for layer in network.layers.values() if "running_var" in layer.tensors]
    untouched = ((reader.read(norm[role]) == value).all() for norm in norms for role, value in _UNTOUCHED.items())
    return "average_model_state" in network.scope or (bool(norms) and all(untouched))


def _remarks(network: Network, averages: Sequence[Network], reader: WeightsReader) -> Iterator[str]:
    """Yield one line for each moving average that is not taken as it is blank, and one if the network itself is."""
    for average in averages:
        if network not in averages and _is_blank(average, reader):
            yield f"weights: not the moving average {average.prefix.rstrip('.')}, whose batch norms never saw an image"
    if _is_blank(network, reader):
        yield f"weights: no image went through the batch norms of {network.prefix.rstrip('.') or 'the file'}"


def _choose(
    networks: Sequence[Network], averages: Sequence[Network], which: str | None, reader: WeightsReader
) -> Network:
    """Return the network that ``which`` names; by default the moving average, as authors evaluate it.

    An average without statistics in its batch norms is taken only where no other copy has some.
    """
    live = [network for network in networks if network not in averages]
    names = ", ".join(repr(network.prefix) for network in networks)
    students = {network.architecture.name for network in live if not network.is_auxiliary}
    match which:
        case None:
            chosen = averages
            if averages and not all(_is_blank(network, reader) for network in live):
                chosen = [average for average in averages if not _is_blank(average, reader)]
            chosen = chosen or [n for n in live if not n.is_auxiliary or n.architecture.name in students] or live
        case "ema":
            chosen = averages
        case "live":
            chosen = live
        case prefix:
            chosen = [network for network in networks if network.prefix.rstrip(".") == prefix.rstrip(".")]
    if not chosen:
        hint = f"give --which {networks[0].prefix.rstrip('.')}" if len(networks) > 1 else "leave out --which"
        raise WeightsError(f"no copy of the weights here is {which!r}; there are {names}", hint)
    different = [chosen[0], *(network for network in chosen[1:] if not _equal(network, chosen[0], reader))]
    if len(different) > 1:
        hint = f"choose one by the beginning of its names: --which {different[0].prefix.rstrip('.') or 'live'}"
        raise WeightsError(f"this file has {len(different)} networks, under {names}", hint)
    return min(chosen, key=lambda network: len(network.prefix))


def _equal(first: Network, second: Network, reader: WeightsReader) -> bool:
    """Return True if two networks have the same tensors, as wrappers save one twice."""
    if first.architecture != second.architecture or first.layers.keys() != second.layers.keys():
        return False
    pairs = [(layer.tensors, second.layers[name].tensors) for name, layer in first.layers.items()]
    return all(
        a.keys() == b.keys() and np.array_equal(reader.read(a[role]), reader.read(b[role]))
        for a, b in pairs
        for role in a.keys() - {"num_batches_tracked"}
    )


def _tensors(
    architecture: Architecture, layers: Mapping[str, Module], reader: WeightsReader
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the tensors of every layer by our key, checked."""
    before = ""
    for layer in architecture.layers():
        preceding = layers[before] if architecture.family == "imagenet" and isinstance(layer, Norm) else None
        for role, array in _layer_tensors(layer, layers.get(layer.name), preceding, reader).items():
            yield f"{layer.name}.{role}", array
        before = layer.name


def _layer_tensors(layer: Layer, module: Module | None, before: Module | None, reader: WeightsReader) -> Tensors:
    """Return the tensors of a layer by role: float32, counters int64 of shape ().

    What a file may lack is filled in: counters and biases with 0, a norm that was folded into the convolution
    ``before`` it with that convolution's bias. The bias of a convolution before a norm goes into the norm's mean.
    """

    def read(role: str, size: int, module: Module | None) -> NDArray[Any]:
        if module is None or role not in module.tensors:
            return np.zeros(size, np.float32)
        name = module.tensors[role]
        if not reader.dtypes[name].startswith(("float", "bfloat")):
            problem = f"{name} has integers ({reader.dtypes[name]}): these weights are quantised without their scales"
            raise WeightsError(problem, hint="give the weights before quantisation")
        return _checked(name, reader.read(name), role)

    match layer:
        case Conv():
            values = {"weight": read("weight", 0, module)}
            return values | ({"bias": read("bias", layer.c_out, module)} if layer.bias else {})
        case Linear():
            weight = read("weight", 0, module) if module else np.zeros((layer.c_out, layer.c_in), np.float32)
            return {"weight": weight, "bias": read("bias", layer.c_out, module)}
        case Norm():
            values = {role: read(role, layer.channels, module) for role in NORM_VECTORS}
            shift, counter = read("bias", layer.channels, before), np.zeros((), np.int64)
            if module is None:                     # folded
                ones = values["weight"] + 1
                values |= {"weight": ones, "bias": shift, "running_var": ones - np.float32(layer.epsilon)}
                return {**values, "num_batches_tracked": counter}
            values["running_mean"] = values["running_mean"] - shift
            if name := module.tensors.get("num_batches_tracked"):
                counter = np.asarray(reader.read(name).max(initial=0), np.int64)     # of any shape, also of shards
            return {**values, "num_batches_tracked": counter}


def _checked(name: str, array: NDArray[Any], role: str) -> NDArray[Any]:
    """Return a tensor. Raises WeightsError for values with which all predictions would be equal."""
    largest = np.abs(array).max(initial=0)
    if not np.isfinite(largest):
        problem, hint = "NaN or infinity", "the training diverged or the file is damaged: use an earlier checkpoint"
    elif largest > HUGE:
        problem, hint = "numbers above 1e15", "use an earlier checkpoint"
    elif role == "running_var" and (array < 0).any():
        problem, hint = "negative variances", "use an earlier checkpoint"
    else:
        return array
    raise WeightsError(f"{name} has {problem}", hint)
