"""Write a small data set of class folders for a rehearsal: crops of the photographs beside this file.

    python examples/crops.py crops/

writes crops/train/CLASS and crops/val/CLASS, one class per photograph: 40 crops of its left half for training, 40 of
its right half for validation. Pillow comes with the package.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from PIL import Image

TRAIN, VALIDATION = 40, 40


def main(folder: Path) -> None:
    """Write the data set."""
    dice = random.Random(0)
    photographs = [path for path in sorted(Path(__file__).parent.iterdir()) if path.suffix in (".jpg", ".png", ".webp")]
    for path in photographs:
        image = Image.open(path).convert("RGB")
        middle = image.width // 2
        halves = {"train": (image.crop((0, 0, middle, image.height)), TRAIN),
                  "val": (image.crop((middle, 0, image.width, image.height)), VALIDATION)}  # fmt: skip
        for split, (half, count) in halves.items():
            target = folder / split / path.stem
            target.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                crop(half, dice).save(target / f"{number:02}.jpg", quality=95)
    print(f"{folder}: {TRAIN} crops to train and {VALIDATION} to validate of each of {len(photographs)} photographs")


def crop(image: Image.Image, dice: random.Random) -> Image.Image:
    """Return a random square of at least half of the shorter side."""
    shorter = min(image.size)
    side = dice.randint(shorter // 2, shorter)
    left, top = dice.randint(0, image.width - side), dice.randint(0, image.height - side)
    return image.crop((left, top, left + side, top + side))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "crops"))
