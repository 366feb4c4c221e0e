"""Text files written whole or not at all"""

from __future__ import annotations

import os
from pathlib import Path

from wideresnet.errors import ConfigError


def save_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, in place only when whole; folders are made. Raises ConfigError."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
