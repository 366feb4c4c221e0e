"""Make ``opencv.npz`` and ``opencv.json`` anew: what OpenCV's ``resize`` makes of noise.

    pip install opencv-python-headless==5.0.0.93 && python tests/golden/regenerate_opencv.py

Uses OpenCV and NumPy alone, never this package, which needs no OpenCV. 4.10.0.84 gave the same bytes, and so
did 5.0.0.93 with ``cv2.setUseOptimized(False)``, on x86-64.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
# (width, height) -> (width, height): shrunk, grown, both at once, halved (which OpenCV does in another way), halved
# in one direction only, quartered, of one row or column, unchanged.
SIZES = [
    ((97, 73), (36, 36)), ((61, 83), (36, 36)), ((500, 333), (37, 37)), ((9, 7), (32, 32)), ((20, 60), (40, 21)),
    ((64, 48), (32, 24)), ((64, 31), (32, 24)), ((96, 64), (24, 16)), ((1, 40), (20, 20)), ((40, 1), (20, 20)),
    ((2, 2), (33, 31)), ((1, 1), (5, 5)), ((30, 20), (30, 20)),
]  # fmt: skip


def main() -> None:
    resized = {}
    for old, new in SIZES:
        images = [noise(*old)]
        for optimised in (True, False):
            cv2.setUseOptimized(optimised)
            images.append(cv2.resize(images[0], new, interpolation=cv2.INTER_LINEAR))
        assert np.array_equal(images[1], images[2]), (old, new)
        resized[name(old, new)] = images[1]
    np.savez_compressed(HERE / "opencv.npz", **resized)
    record = {"made_with": {"opencv": cv2.__version__, "numpy": np.__version__}, "sizes": SIZES}
    (HERE / "opencv.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


def noise(width: int, height: int) -> NDArray[np.uint8]:
    """RGB uint8 [height, width, 3], the same everywhere."""
    return np.random.Generator(np.random.PCG64(1000 * width + height)).integers(0, 256, (height, width, 3), np.uint8)


def name(old: tuple[int, int], new: tuple[int, int]) -> str:
    return "{}x{}-{}x{}".format(*old, *new)


if __name__ == "__main__":
    main()
