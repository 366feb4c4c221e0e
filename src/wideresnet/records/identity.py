"""Identity of a run: everything that decides its output, so that no output is continued by another run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wideresnet.records.models import ModelCard


@dataclass(frozen=True)
class Difference:
    """One value in which two runs differ."""

    key: str
    earlier: Any
    now: Any


@dataclass(frozen=True)
class RunIdentity:
    """The values that decide the output of a run, by name. Runs of the same identity have the same output."""

    values: Mapping[str, Any]

    @classmethod
    def of_model(cls, card: ModelCard, settings: Mapping[str, Any]) -> RunIdentity:
        """Return the identity of a run of the model with ``card``, which has the hashes of its files."""
        model = {"model": card.name, "graph": card.files, "weights": card.weights_sha256}
        calibration = {"calibration": card.uncertainty.digest} if card.uncertainty else {}
        return cls(model | calibration | {"preprocess": asdict(card.preprocess)} | dict(settings))

    def as_json(self) -> dict[str, Any]:
        """Return the values as JSON has them: tuples are lists, keys are strings."""
        return json.loads(json.dumps(dict(self.values)))

    @property
    def digest(self) -> str:
        """The beginning of the SHA-256 of the values."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, earlier: Mapping[str, Any]) -> list[Difference]:
        """Compare with the JSON values of an earlier run; a value that one of them lacks is None there."""
        now = self.as_json()
        return [
            Difference(key, earlier.get(key), now.get(key))
            for key in now | dict(earlier)
            if now.get(key) != earlier.get(key)
        ]
