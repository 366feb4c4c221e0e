"""The cache folder of downloads and tunings. Separate from ``store``, which imports the downloader.

    WRN_CACHE=DIR      where it is (else $XDG_CACHE_HOME/wideresnet, else ~/.cache/wideresnet)
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of downloaded weights and tunings; it may not exist yet."""
    if own := os.environ.get("WRN_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wideresnet"
