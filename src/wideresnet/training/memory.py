"""Freed memory that stays with the process: a step asks for the same sizes as the one before."""

from __future__ import annotations

import ctypes
import sys

# Of <malloc.h>; what is larger than the highest threshold that glibc takes is always given back.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
HIGHEST_THRESHOLD = 32 << 20


def keep_memory() -> bool:
    """Let the C library keep what is freed, for blocks of up to 32 MiB; whether it can.

    By default glibc gives blocks of some MiB back to the system, which clears every page anew for the next step: some
    8 % of the time of a small network. The process stays as large as it ever was. Other C libraries are left alone.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is None:
        return False
    return bool(set_option(M_MMAP_THRESHOLD, HIGHEST_THRESHOLD) and set_option(M_TRIM_THRESHOLD, 2**31 - 1))
