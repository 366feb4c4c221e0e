"""Comparison of a bundle's card and labels with its graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple

import numpy as np

from wideresnet.architectures import describe_variant
from wideresnet.bundle.bundle import Bundle
from wideresnet.datasets.labels import LABEL_LISTS, read_labels
from wideresnet.errors import BundleError
from wideresnet.graph.check import check_graph
from wideresnet.graph.facts import GraphFacts, check_finite, read_facts
from wideresnet.records import MarginScale
from wideresnet.report.formats import rgb_text

TOLERANCE = 1e-5                                   # relative; the graph holds float32


def check_bundle(bundle: Bundle, name: str) -> None:
    """Raise BundleError if the graph of the bundle ``name`` differs from its card or labels.

    Compared are the architecture and its variant, input size, classes, normalisation, stored precision, and number of
    labels; for a list of ``datasets.labels.LABEL_LISTS`` the labels too. Constants that are NaN or infinite are
    refused, and a graph that a runtime can't open safely (``graph.check``).
    """
    check_graph(bundle.model)
    contradictions = list(_contradictions(bundle, read_facts(bundle.model)))
    if contradictions:
        hint = "undo the change of card.json, or write the bundle again with 'wrn export'"
        raise BundleError(f"the card of {name} contradicts its graph: {'; '.join(contradictions)}", hint)
    check_finite(bundle.model)


def _contradictions(bundle: Bundle, facts: GraphFacts) -> Iterator[str]:
    card, labels = bundle.card, bundle.labels
    spec = card.preprocess
    stated = {
        "architecture": (card.architecture, facts.architecture),
        "variant": (describe_variant(card.variant), describe_variant(facts.variant)),
        "precision": (card.precision, facts.precision),
        "crop": (spec.crop, facts.side),
        "classes": (card.classes, facts.classes),
        "number of labels": (len(labels.names), facts.classes),
        "known score": (card.uncertainty is not None, facts.known_score),
    }
    for field, (on_card, in_graph) in stated.items():
        if on_card != in_graph:
            yield f"{field} is {on_card} on the card, {in_graph} in the graph"
    temperature = card.uncertainty.temperature if card.uncertainty else 1.0
    if not math.isclose(temperature, facts.temperature, rel_tol=TOLERANCE):
        yield f"temperature is {temperature:g} on the card, {facts.temperature:g} in the graph"
    on_card, in_graph = (card.uncertainty and card.uncertainty.margin) or MarginScale(), facts.margin or MarginScale()
    if not np.allclose(astuple(on_card), astuple(in_graph), rtol=TOLERANCE):
        yield f"margin scale is {on_card} on the card, {in_graph} in the graph"
    for field, on_card, in_graph in (("mean", spec.mean, facts.mean), ("std", spec.std, facts.std)):
        if not np.allclose(on_card, in_graph, rtol=TOLERANCE, atol=TOLERANCE):
            yield f"{field} is {rgb_text(on_card)} on the card, {rgb_text(in_graph)} in the graph"
    if card.labels_name in LABEL_LISTS:
        listed = read_labels(card.labels_name)
        if (labels.ids or labels.names) != (listed.ids or listed.names):
            yield f"labels.txt is not the list {card.labels_name!r} that the card names"
