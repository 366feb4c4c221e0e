"""Make ``fixtures/`` (tiny awkward images), ``crops.npz`` and ``crops.json`` anew.

    python tests/golden/regenerate.py

Uses Pillow and NumPy alone, never this package: the crops are torchvision's ``Resize`` and ``CenterCrop``
written down a second time. No image is anyone's: they are drawn by ``drawing``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
# The published transforms in small (256/224, 232/224, bicubic, 303/288, squashed), and one in full.
TRANSFORMS = {
    "tv_small": {"resize": 36, "crop": 32, "interpolation": "bilinear", "mode": "shortest"},
    "tv2_small": {"resize": 33, "crop": 32, "interpolation": "bilinear", "mode": "shortest"},
    "racm_small": {"resize": 37, "crop": 32, "interpolation": "bicubic", "mode": "shortest"},
    "upscale": {"resize": 101, "crop": 96, "interpolation": "bicubic", "mode": "shortest"},
    "squash": {"resize": 36, "crop": 32, "interpolation": "bilinear", "mode": "squash"},
    "tv_in1k": {"resize": 256, "crop": 224, "interpolation": "bilinear", "mode": "shortest"},
}
# These two only of a few images: the stored crops stay small.
FEW = {"tv_in1k": ["progressive.jpg"], "upscale": ["rgb.png", "tall.jpg", "palette.png"]}


def main() -> None:
    FIXTURES.mkdir(exist_ok=True)
    save_fixtures()
    crops, sizes = {}, {}
    for path in sorted(FIXTURES.iterdir()):
        image = as_rgb(path)
        sizes[path.name] = image.size
        for name, transform in TRANSFORMS.items():
            # Pillow 13 squashes tall images in another order of passes than Pillow 12 (one level off).
            same_everywhere = transform["mode"] == "shortest" or image.width >= image.height
            if same_everywhere and path.name in FEW.get(name, [path.name]):
                crops[f"{name}/{path.name}"] = crop(image, **transform)
    np.savez_compressed(HERE / "crops.npz", **crops)
    record = {
        "made_with": {
            "pillow": Image.__version__,
            "libjpeg_turbo": features.version_feature("libjpeg_turbo"),
            "webp": features.version_module("webp"),
            "numpy": np.__version__,
        },
        "transforms": TRANSFORMS,
        "pictures": sizes,
    }
    (HERE / "crops.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def save_fixtures() -> None:
    wide, tall = drawing(97, 73), drawing(61, 83)
    exif = Image.Exif()
    exif[0x0112] = 6
    wide.save(FIXTURES / "rgb.png")
    tall.save(FIXTURES / "tall.jpg", quality=90, subsampling=2)
    wide.save(FIXTURES / "progressive.jpg", quality=90, progressive=True)
    wide.save(FIXTURES / "orientation_6.jpg", quality=90, exif=exif)
    # Says "TIFF, 40 entries at offset 200" and ends there.
    wide.save(FIXTURES / "broken_exif.jpg", quality=90, exif=b"Exif\0\0II*\0\xc8\0\0\0" + b"\x28" * 12)
    wide.convert("CMYK").save(FIXTURES / "cmyk.jpg", quality=90)
    wide.convert("L").save(FIXTURES / "grey.jpg", quality=90)
    wide.convert("LA").save(FIXTURES / "grey_alpha.png")
    wide.convert("1").save(FIXTURES / "one_bit.png")
    Image.fromarray(grey_16bit()).save(FIXTURES / "grey_16bit.png")
    half = Image.new("L", wide.size, 128)
    half.paste(0, (0, 0, 40, 40))
    Image.merge("RGBA", [*wide.split(), half]).save(FIXTURES / "alpha.png")
    palette = wide.quantize(64)
    palette.save(FIXTURES / "palette.png")
    palette.save(FIXTURES / "palette_transparent.png", transparency=bytes(range(0, 256, 4)))
    frames = [palette, drawing(97, 73, seed=1).quantize(64)]
    frames[0].save(FIXTURES / "animated.gif", save_all=True, append_images=frames[1:])
    wide.save(FIXTURES / "still.webp", lossless=True)
    wide.save(FIXTURES / "bitmap.bmp")
    wide.save(FIXTURES / "lzw.tif", compression="tiff_lzw")
    tall.save(FIXTURES / "really_a_png.jpg", format="PNG")
    drawing(36, 37).save(FIXTURES / "one_more_row.png")
    drawing(2, 50).save(FIXTURES / "thin.png")
    drawing(1, 1).save(FIXTURES / "one_pixel.png")


def drawing(width: int, height: int, seed: int = 0) -> Image.Image:
    """Waves of three colours, with edges and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(x / (5 + 4 * c) + y / (13 - 3 * c) + c + seed) for c in range(3)]
    pixels = np.stack(waves, axis=-1) + rng.normal(0, 3, (height, width, 3))
    pixels[height // 4 : height // 2, width // 3 : width // 2] = (250, 20, 60)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def grey_16bit() -> NDArray[np.uint16]:
    y, x = np.mgrid[0:73, 0:97]
    return ((x * 65535) // 96 + y).clip(0, 65535).astype(np.uint16)


def as_rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        if image.mode == "I;16":
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")


def crop(image: Image.Image, resize: int, crop: int, interpolation: str, mode: str) -> NDArray[np.uint8]:
    """torchvision.transforms.functional: resize, then center_crop, on a Pillow image."""
    width, height = image.size
    if mode == "squash":
        size = (resize, resize)
    elif width <= height:
        size = (resize, int(resize * height / width))
    else:
        size = (int(resize * width / height), resize)
    resized = image.resize(size, Image.Resampling[interpolation.upper()])
    left, top = round((size[0] - crop) / 2.0), round((size[1] - crop) / 2.0)
    return np.asarray(resized.crop((left, top, left + crop, top + crop)))


if __name__ == "__main__":
    main()
