"""Where a network's code comes from, and so what it computes beyond names and shapes.

A dozen public repositories write the same shapes for different functions. Key names, fields of the checkpoint,
attributes of pickled modules and tensors that training left untouched tell many of them apart; the facts on each
repository are in docs/weights.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet.architectures import LEAKY_SLOPE, VARIANT_FIELDS, Pool, Variant
from wideresnet.datasets.statistics import NORMALISATIONS
from wideresnet.errors import WeightsError
from wideresnet.layers import Conv, Norm
from wideresnet.records import RGB, Normalisation
from wideresnet.weights.flatten import Fact
from wideresnet.weights.modules import Module, tokenise, words_of
from wideresnet.weights.structure import Network

Facts = Mapping[str, Fact]
Read = Callable[[str], NDArray[Any]]

# Activations that no graph here has, as classes of torch.
UNSUPPORTED: Final = {"CELU", "ELU", "GELU", "Hardswish", "Hardtanh", "Mish", "ReLU6", "SELU", "Softplus", "Tanh"}
_POOLING: Final = "torch.nn.modules.pooling."
SEMI_SUPERVISED: Final[Variant] = {"activation": "leaky_relu", "shortcut": "skip_norm"}


@dataclass(frozen=True)
class Scheme:
    """One way of naming the layers, and what its code computes.

    ``names`` matches the names of the first block's first convolution, the second stage's shortcut, the last norm
    and the classifier, joined by spaces, then remarks in capitals. ``sure``: names alone show the function. ``biases``:
    "all", "some", "stem" or "".
    """

    title: str
    names: str
    variant: Variant = field(default_factory=dict)
    sure: bool = False
    normalise: str = ""                            # a name of NORMALISATIONS; "": that of the data set
    biases: str = "any"
    alternative: str = ""                          # another normalisation that such files often need
    with_key: str = ""                             # a pattern of a name that must be in the file


_XTERNALZ = r"block1\.layer\.0\.conv1 block2\.layer\.0\.convShortcut bn1 "
_KUANGLIU = r"layer1\.0\.conv1 layer2\.0\.shortcut\.0 bn1 "
SCHEMES: Final = (
    Scheme("torchvision", r"layer1\.0\.conv1 layer2\.0\.downsample\.0 .*IMAGENET", sure=True),
    Scheme("bearpaw's PreResNet", r"layer1\.0\.conv1 layer2\.0\.downsample\.0 bn ", {"shortcut": "raw"}),
    Scheme("wideresnet", r"layer1\.0\.conv1 layer2\.0\.shortcut bn "),
    Scheme("semilearn (USB)", _XTERNALZ, SEMI_SUPERVISED | {"final_bn_eps": 1e-3}, True, "imagenet", "stem"),
    Scheme("TorchSSL", _XTERNALZ, SEMI_SUPERVISED | {"bn_eps": 1e-3}, True, biases="all"),
    Scheme("FixMatch, MixMatch", _XTERNALZ, SEMI_SUPERVISED, False, with_key=r"ema_state_dict(\..*)?"),
    Scheme("TRADES, RobustBench", _XTERNALZ, alternative="unit", with_key=r"(.*\.)?sub_block1\..*"),
    Scheme("RobustBench", _XTERNALZ + r"\S+ without_bias", alternative="unit"),
    Scheme("xternalz", _XTERNALZ),
    Scheme("AugMix", r"block1\.layer\.0\.conv1 block2\.layer\.0\.conv_shortcut ", {}, True, "half"),
    Scheme("szagoruyko", r"group0\.block0\.conv0 group1\.block0\.conv_?dim ", sure=True),
    Scheme("hysts, or its preactivated ResNet", r"stage1\.block1\.conv1 stage2\.block1\.shortcut\.conv .*WIDTH1"),
    Scheme("hysts", r"stage1\.block1\.conv1 stage2\.block1\.shortcut\.conv ", sure=True),
    Scheme("pytorchcv", r"(features\.)?stage1\.unit1\.body\.conv1\.conv ", sure=True, alternative="cifar10-per-image"),
    Scheme("DeepMind", r"layer\.0\.block\.0\.conv_0 ", {"activation": "silu", "padding": "same"}),
    Scheme("davda54 (SAM)", r"(f\.)?1_block\.block\.0\.block\.0_convolution ", sure=True),
    Scheme("weiaicunzai", r"conv2\.0\.residual\.2 ", {"shortcut": "raw"}, True, "cifar100"),
    Scheme("torch-uncertainty", r"layer1\.0\.conv1 .*POSTACT ", {"stride_on": "conv2"}, True, "cifar10-per-image"),
    Scheme("meliketoy", _KUANGLIU, {"shortcut": "raw", "stride_on": "conv2"}, True, "cifar10-per-image", "all"),
    Scheme("kuangliu, with linear", _KUANGLIU + "linear", {"shortcut": "always"}, False, "", "", "cifar10-per-image"),
    Scheme("torchdistill", _KUANGLIU, {"shortcut": "raw"}),
    Scheme("distiller", r"layer1\.layer\.0\.conv1 ", {}, True, "cifar10-per-image"),
    Scheme("by structure", ""),
)


@dataclass(frozen=True)
class Origin:
    """What is known and what is likely of a network beyond its shapes."""

    scheme: Scheme
    variant: Variant
    stated: frozenset[str]                         # fields of the variant that the file shows
    evidence: tuple[str, ...]                      # one sentence per conclusion
    normalisation: Normalisation | None            # that the file holds
    buffers: dict[str, str]                        # the layers that hold it, by "mean" and "std"
    data_set: str                                  # that the file names, else ""
    likely_data_set: str                           # that its settings suggest, else ""


def find_origin(network: Network, modules: Sequence[Module], facts: Facts, read: Read) -> Origin:
    """Return the origin of a network from all layers of its file, the scalars in it and the values of tensors."""
    signature = _signature(network)
    biased = {name for name, layer in network.layers.items() if layer.kind == "conv" and "bias" in layer.tensors}
    convolutions = {name for name, layer in network.layers.items() if layer.kind == "conv"}
    kinds = ("", set[str]()), ("stem", {"conv1"}), ("all", convolutions)
    biases = next((kind for kind, names in kinds if names == biased), "some")
    keys = [*(name for module in modules for name in module.tensors.values()), *facts]

    def fits(scheme: Scheme) -> bool:
        return (
            re.match(scheme.names, signature) is not None
            and scheme.biases in ("any", biases)
            and (not scheme.with_key or any(re.fullmatch(scheme.with_key, key) for key in keys))
        )

    scheme = next(filter(fits, SCHEMES))
    variant, evidence = dict(scheme.variant), [f"names: as {scheme.title} writes them"]
    stated = set(VARIANT_FIELDS if scheme.sure else ())
    if _has_untrained_norms(network, read) and network.architecture.block == "preact":
        variant |= SEMI_SUPERVISED
        stated.add("shortcut")
        evidence.append("shortcut skip_norm: the first norm of stages 2 and 3 was never trained")
    elif variant.get("shortcut") == "skip_norm":
        evidence.append("shortcut skip_norm: by names only; the first norms of stages 2 and 3 look trained")
        stated.clear()                             # code of the same names may compute something else
    for name, (value, reason) in _attributes(network, facts).items():
        variant[name] = value
        stated.add(name)
        evidence.append(f"{name} {value}: {reason}")
    _check_layers(network, variant, facts)
    _check_function(network, signature, facts, read)
    normalisation, buffers = _stated_normalisation(modules, read)
    if normalisation:
        evidence.append(f"mean and std: stated by {buffers['mean']} and {buffers['std']}")
    return Origin(scheme, variant, frozenset(stated), tuple(evidence), normalisation, buffers, *_data_sets(facts))


def _signature(network: Network) -> str:
    layers = network.layers
    tail = [layers[name].name if name in layers else "" for name in ("bn", "fc")]
    if network.architecture.block == "postact":
        tail[0] = "POSTACT"
    elif network.architecture.family == "imagenet":
        tail = [layers["bn1"].name if "bn1" in layers else "", tail[1], "IMAGENET"]
    shortcut = layers.get("layer2.0.shortcut") or layers["layer2.0.downsample.0"]
    names = [layers["layer1.0.conv1"].name, shortcut.name, *tail]
    text = " ".join(name.removeprefix(network.prefix) for name in names)
    text += "" if "fc" not in layers or "bias" in layers["fc"].tensors else " without_bias"
    return text + (" WIDTH1" if network.architecture.name.endswith("_1") else "")


def _has_untrained_norms(network: Network, read: Read) -> bool:
    """Return True if the first norm of the later stages has no trace of a gradient while the last norm has."""

    def untouched(name: str) -> bool:
        tensors = network.layers[name].tensors
        weight, bias = (read(tensors[role]) for role in ("weight", "bias"))
        return bool((bias == 0).all() and (weight == weight[0]).all())

    if "bn" not in network.layers or "weight" not in network.layers["bn"].tensors:
        return False
    return all(map(untouched, ("layer2.0.bn1", "layer3.0.bn1"))) and not untouched("bn")


def _attributes(network: Network, facts: Facts) -> dict[str, tuple[str | float, str]]:
    """Return fields of the variant that the attributes of pickled modules state."""
    stated: dict[str, tuple[str | float, str]] = {}
    kinds = (str(value) for key, value in facts.items() if key.startswith(network.prefix) and key.endswith("__class__"))
    classes = {kind.rpartition(".")[2] for kind in kinds}
    slopes = (value for key, value in facts.items() if key.endswith(".negative_slope") and value != LEAKY_SLOPE)
    if unsupported := [*classes & UNSUPPORTED, *(f"LeakyReLU of {slope}" for slope in slopes)]:
        hint = f"read are ReLU, SiLU, LeakyReLU of {LEAKY_SLOPE}"
        raise WeightsError(f"a module of the file is {unsupported[0]}", hint)
    for name, value in {"ReLU": "relu", "LeakyReLU": "leaky_relu", "SiLU": "silu"}.items():
        if name in classes:
            stated["activation"] = value, f"a module of the file is {name}"
    for name, layer in (("bn_eps", "layer1.0.bn1"), ("final_bn_eps", "bn")):
        norm = network.layers.get(layer)
        if norm and isinstance(eps := facts.get(f"{norm.name}.eps"), float) and (eps,) != stated.get("bn_eps", ())[:1]:
            stated[name] = eps, f"stated by {norm.name}"
    pool = facts.get(f"{network.prefix}global_pool.pool_type")     # timm's
    if pool in get_args(Pool)[1:] or facts.get(f"{network.prefix}avgpool.__class__") == f"{_POOLING}AdaptiveMaxPool2d":
        stated["pool"] = str(pool or "max"), "stated by the pooling of the file"
    stride = facts.get(f"{network.layers['layer2.0.conv1'].name}.stride.0")
    if stride is not None and network.architecture.family == "cifar":
        stated["stride_on"] = "conv1" if stride == 2 else "conv2", "stated by the first block of stage 2"
    return stated


def _check_layers(network: Network, variant: dict[str, Any], facts: Facts) -> None:
    """Raise WeightsError where pickled modules state another stride, dilation, padding, epsilon or stem."""
    computed: dict[str, Fact] = {f"{network.prefix}maxpool.__class__": f"{_POOLING}MaxPool2d"}
    for layer in replace(network.architecture, **variant).layers():
        name = network.layers[layer.name].name if layer.name in network.layers else ""
        if isinstance(layer, Conv):
            computed |= {f"{name}.stride.0": layer.stride, f"{name}.dilation.0": 1, f"{name}.padding_mode": "zeros"}
        elif isinstance(layer, Norm):
            computed[f"{name}.eps"] = layer.epsilon
    for key, value in computed.items():
        if facts.get(key, value) != value:
            problem = f"{key} is {facts[key]} in the file, and {value} in {network.architecture.name}"
            raise WeightsError(problem, "give a file of the network as its library makes it")


def _check_function(network: Network, signature: str, facts: Facts, read: Read) -> None:
    """Raise WeightsError for networks with the shapes of a WRN that are known to compute something else."""
    hint = "give a network that computes what its layers' names say"
    if re.match(r"(\S*\.)?features\.\d+\.conv1 (\S*\.)?features\.\d+\.shortcut ", signature):
        raise WeightsError("the file is of fastai's WideResNet, which multiplies residuals by 0.2", hint)
    archs = (str(value).lower() for key, value in facts.items() if re.fullmatch(r"(.*\.)?arch", key))
    if network.architecture.block == "basic" and any(arch.startswith("wideresnet") for arch in archs):
        raise WeightsError("the file is of Places365's wideresnet, which has no max pooling after its stem", hint)
    fc = network.layers.get("fc")
    if fc and "bias" not in fc.tensors and "weight" in fc.tensors:
        lengths = np.linalg.norm(read(fc.tensors["weight"]).astype(np.float64), axis=-1)
        if np.allclose(lengths, 1, atol=1e-3):     # RobustBench's Pang2020Boosting writes them back so
            raise WeightsError(f"{fc.name} has no bias and rows of length 1: a classifier of cosines is not read", hint)


def _stated_normalisation(modules: Sequence[Module], read: Read) -> tuple[Normalisation | None, dict[str, str]]:
    """Return mean and standard deviation of RGB values in [0, 1] that the file has as tensors of three numbers.

    The second value is the names of these tensors by "mean" and "std".
    """
    values_of: dict[str, RGB] = {}
    names: dict[str, str] = {}
    for module in sorted(modules, key=lambda module: len(module.tokens)):
        words = words_of(module.tokens[-1:])
        kind = "mean" if words & {"mu", "mean", "means"} else "std" if words & {"sigma", "std", "stds", "sds"} else ""
        if kind and kind not in values_of and "value" in module.tensors:
            values = read(module.tensors["value"]).astype(np.float64).ravel()
            if values.size == 3:
                red, green, blue = (float(f"{value:.9g}") for value in values)
                values_of[kind], names[kind] = (red, green, blue), module.name
    if values_of.get("std", (0,))[0] > 2:              # of values in 0..255
        values_of = {kind: (r / 255, g / 255, b / 255) for kind, (r, g, b) in values_of.items()}
    if set(values_of) != {"mean", "std"} or min(values_of["std"]) <= 0 or max(map(abs, values_of["mean"])) > 1:
        return None, {}
    return (values_of["mean"], values_of["std"]), names


def _data_sets(facts: Facts) -> tuple[str, str]:
    """Return the data set that all settings called "dataset" name, and the one that they or paths of data suggest."""
    texts = {key: re.sub("[-_ ]", "", value.lower()) for key, value in facts.items() if isinstance(value, str)}
    stated = {text.rpartition("/")[2] for key, text in texts.items() if re.search(r"(^|[\W_])dataset$", key, re.I)}
    about = " ".join(text for key, text in texts.items() if words_of(tokenise(key)[-1:]) & {"dataset", "data"})
    likely = set(re.findall("cifar100?|svhn", about))
    name = stated.pop() if len(stated) == 1 and stated < {"cifar10", "cifar100", "svhn"} else ""
    return name, name or (likely.pop() if len(likely) == 1 else "")


def usual_normalisation(name: str, data_set: str) -> tuple[str, Normalisation]:
    """Return the name and values of the statistics that are usual for a scheme (``normalise``) and a data set."""
    name = name or {"cifar10": "cifar10-paper", "": "cifar10-paper"}.get(data_set, data_set)
    if data_set == "cifar100" and name.startswith("cifar10-"):
        name = data_set                            # code for both data sets has statistics of both
    return name, NORMALISATIONS[name]
