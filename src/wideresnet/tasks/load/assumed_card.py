"""The card of a weights file without one: what the file shows, and what is assumed because it does not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from wideresnet.architectures import Architecture
from wideresnet.datasets.labels import numbered_names, read_labels
from wideresnet.datasets.statistics import STATISTICS
from wideresnet.records import FileFacts, Labels, ModelCard, Preprocess
from wideresnet.tasks.load.hub import FILES, repository_of
from wideresnet.tasks.load.hub_config import HubConfig
from wideresnet.weights.flatten import UNREAD
from wideresnet.weights.origin import SCHEMES, usual_normalisation
from wideresnet.weights.recognise import Recognised

ASSUMED_LABELS = "class names:"
# The path of a class name, or of its index.
_NAMED = re.compile(r"((.*?\.)?(class_names|(?i:classes)_?|class_to_idx|idx_to_class|label2id|id2label))(\.(.+))?")
_BY_CLASSES = {("cifar", 10): "cifar10", ("cifar", 100): "cifar100", ("imagenet", 1000): "imagenet"}


def card_for(
    path: Path,
    architecture: Architecture,
    *,
    side: int = 0,
    network: Recognised | None = None,
    config: HubConfig | None = None,
    facts: FileFacts,
) -> ModelCard:
    """Return the card of a file without one; ``assumed`` lists what nothing states.

    ``side``: input pixels; 0: as usual for the architecture. ``config`` lies beside the file. ``facts`` come from the
    user.
    """
    spec, assumed = usual_preprocess(architecture).at(side), []
    named, likely = (network.origin.data_set, network.origin.likely_data_set) if network else ("", "")
    by_classes = _BY_CLASSES.get((architecture.family, architecture.classes), "")
    data_set = likely or by_classes
    if likely and len(read_labels(likely).names) == architecture.classes:
        by_classes = likely
    else:
        named = ""
    statistics = facts.normalise or (network and network.origin.normalisation)
    if config and config.preprocess:
        spec = config.preprocess
    else:
        text = f"preprocessing: resize {spec.resize}, centre crop {spec.crop}"
        if statistics is None:
            scheme = network.origin.scheme if network else SCHEMES[-1]
            usual = "imagenet" if architecture.family == "imagenet" else scheme.normalise
            name, statistics = usual_normalisation(usual, data_set)
            mean, std = (", ".join(f"{value:.4g}" for value in values) for values in statistics)
            rival = f"; files of {scheme.title} often need {scheme.alternative}" if scheme.alternative else ""
            text += f", mean {mean}, std {std} ({name}{rival}; --normalise changes them)"
        assumed.append(text)
    if statistics:
        spec = replace(spec, mean=statistics[0], std=statistics[1])
    if not (config and config.labels) and not named:
        names = f"those of {by_classes}" if by_classes else "none, so numbers"
        assumed.append(f"{ASSUMED_LABELS} {names} (for {architecture.classes} classes)")
    if network:
        assumed += [*_function(architecture, {*facts.variant, *network.origin.stated}), *left_out(network)]
    return ModelCard(
        name=_name_of(path, config), architecture=architecture.name, classes=architecture.classes, preprocess=spec,
        precision="fp32", licence="unknown", assumed=tuple(assumed),
        labels_name="" if config and config.labels else named or by_classes,
    )  # fmt: skip


def stated_names(facts: Mapping[str, object], classes: int) -> tuple[str, ...] | None:
    """Return the class names among the facts of a checkpoint: a list, or a mapping from or to indices.

    () without names; None where different ones are stated, none fit the number of ``classes``, or they have no order.
    """
    groups: dict[str, dict[str, object]] = {}
    for path, value in facts.items():
        if (match := _NAMED.fullmatch(path)) and (match[5] or str(value).endswith(UNREAD)):
            groups.setdefault(match[1], {})[match[5] or ""] = value
    stated = set()
    for entries in groups.values():
        for names in (entries, {str(index): name for name, index in entries.items()}):
            texts = tuple(name for index in range(classes) if isinstance(name := names.get(str(index)), str))
            if len(texts) == len(entries) == classes and all(map(str.isprintable, texts)):
                stated.add(texts)
    values = [value for entries in groups.values() for value in (*entries, *entries.values())]
    has_text = any(isinstance(value, str) and not value.isdecimal() for value in values)
    return stated.pop() if len(stated) == 1 else None if has_text else ()


def _name_of(path: Path, config: HubConfig | None) -> str:
    """Return the name of a file's repository on a hub, of the folder of a clone, or of the file itself."""
    if repository := repository_of(path)[0]:
        return repository.rpartition("/")[2]
    return path.absolute().parent.name if config and path.name in FILES else path.stem


def _function(architecture: Architecture, stated: Collection[str]) -> Iterator[str]:
    """Yield one line with the fields of a network's function that nothing states."""
    names = ["activation", "bn_eps", *(["shortcut"] if architecture.family == "cifar" else [])]
    names += [name for name in ("final_bn_eps", "stride_on", "padding", "pool") if name in architecture.variant()]
    fields = [name for name in names if name not in stated]
    if fields:
        values = ", ".join(f"{name} {getattr(architecture, name)}" for name in fields)
        options = ", ".join(option_of(name) for name in fields if name != "final_bn_eps")
        yield f"function: {values} (no shape shows it; {options} change it)"


def option_of(field: str) -> str:
    """Return the option of the command line that states a field of the variant."""
    return "--final-pool" if field == "pool" else f"--{field.replace('_', '-')}"


def left_out(network: Recognised) -> Iterator[str]:
    """Yield one line for each reason why layers of the file are not used, other than that they are a copy."""
    for reason in dict.fromkeys(network.ignored.values()):
        names = [name for name, stated in network.ignored.items() if stated == reason]
        if "copy" not in reason:
            more = f", … {len(names)} in all" if len(names) > 2 else ""
            yield f"left out: {', '.join(names[:2])}{more}, {reason}"


def usual_preprocess(architecture: Architecture) -> Preprocess:
    """Return the usual preprocessing of a family: 32 px with CIFAR-10's statistics, or 256/224 px."""
    if architecture.family == "cifar":
        cifar = STATISTICS["cifar10"]
        return Preprocess(resize=32, crop=32, mean=cifar.mean, std=cifar.std)
    return Preprocess(resize=256, crop=224)


def usual_labels(card: ModelCard) -> Labels:
    """Return the class names of the list that the card names, or numbers."""
    return read_labels(card.labels_name) if card.labels_name else Labels(numbered_names(card.classes))
