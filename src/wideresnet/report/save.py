"""Files written whole or not at all"""

from __future__ import annotations

import os
from pathlib import Path

from wideresnet.errors import ConfigError


def save_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; see ``save_bytes``."""
    save_bytes(path, text.encode("utf-8"))


def save_bytes(path: Path, data: bytes) -> None:
    """Write ``data``, in place only when whole; folders are made. Raises ConfigError."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
