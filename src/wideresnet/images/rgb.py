"""Conversion of pixels of every type to RGB uint8, or an error that states their type and range.

    the file holds                                 becomes
    8 bits or fewer, with or without a palette     Pillow's ``convert("RGB")``; a signed byte below 0 is refused
    unsigned integers of 9 to 16 bits              the high byte; refused where they differ by less than 256 in all
    the same in 16 bits, where the file states     the high byte of so many bits
      fewer and no value exceeds them
    the same in 16 bits, all below 4096, not       refused, with the range: 10 or 12 bits would be nearly black
      all 0, where the file states nothing
    other integers within 0..255                   the same numbers
    floats within 0..1                             255 times as much, rounded
    any other integers and floats, NaN             refused, with the range: heights, radiance, counts

Nothing is scaled to the range of one file: the same number would mean another brightness in the next file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.errors import ImageError
from wideresnet.records import Alpha

_FILL = "fill missing values first, and scale to 0..1"


def to_rgb(image: Image.Image, alpha: Alpha = "drop") -> Image.Image:
    """Convert a loaded image of any mode to mode RGB, by the table above. Raises ImageError.

    Transparency is dropped (the colours count as they are stored), or with ``alpha`` "white" laid on white.
    """
    if image.mode[0] in "IF":
        numbers, info = np.asarray(image), image.info
        if image.mode != "F" and numbers.min() >= 0 and numbers.max() < 2**16:
            numbers = numbers.astype(np.uint16)    # of 16 bits in all files but TIFF
        image = Image.fromarray(eight_bits(numbers, info.get("bits", 0)))
        if "transparency" in info:
            image.putalpha(Image.fromarray(numbers != info["transparency"]).convert("L"))
    if image.mode == "La":                         # Pillow converts it to LA only
        image = image.convert("LA")
    if alpha == "white" and image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    image.info.pop("transparency", None)           # convert() would warn that it drops it
    return image if image.mode == "RGB" else image.convert("RGB")


def eight_bits(values: NDArray[np.generic], bits: int = 0) -> NDArray[np.uint8]:
    """Convert brightness in numbers of any type and shape to uint8, by the table above. Raises ImageError.

    ``bits``: how many of 16 the file states; 0: nothing is stated; 16: values are scaled to all of them.
    """
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    low, high = values.min().item(), values.max().item()       # NaN where any is
    shown_low, shown_high = (f"{value:.6g}" if isinstance(value, float) else str(value) for value in (low, high))
    if values.dtype == np.uint16:
        shift = 16 - bits if bits and high < 2**bits else 0
        text = f"the image holds 16-bit values from {low} to {high}: in 8 bits"
        if low != high and (high - low) << shift < 256:
            raise ImageError(f"{text} nothing would be left of their differences", conversion(low, high))
        if not bits and 0 < high < 4096:
            raise ImageError(f"{text} it would be nearly black", conversion(0, 2 ** high.bit_length() - 1))
        return (values.view(np.uint16) << shift >> 8).astype(np.uint8)
    white = 1 if values.dtype.kind == "f" else 255
    if 0 <= low <= high <= white:
        return np.asarray(np.rint(values * 255) if white == 1 else values, np.uint8)
    if invalid := int(np.count_nonzero(~np.isfinite(values))):
        raise ImageError(f"of the image's {values.size:,} {values.dtype} values {invalid:,} are not finite", _FILL)
    problem = f"the image holds {values.dtype} values from {shown_low} to {shown_high}, outside 0..{white}"
    raise ImageError(problem, hint=conversion(shown_low, shown_high))


def check_steps(high: NDArray[np.uint8], bits: int = 0) -> None:
    """Raise ImageError for 16-bit colours whose high bytes ``high`` [H, W, bands] are nearly constant or black."""
    if np.ptp(high, axis=(0, 1)).max() <= 1:
        raise ImageError("the image holds 16-bit colours: in 8 bits all would be equal", conversion("MIN", "MAX"))
    if not bits and high.max() <= 16:              # the high byte of 4095, rounded
        raise ImageError("the image holds 16-bit colours from 0 to about 4095: in 8 bits it would be nearly black",
                         conversion(0, 4095))


def conversion(low: object, high: object, bands: int = 1) -> str:
    """Return the hint of a command that converts ``low`` .. ``high`` to 8 bits, and more bands to three."""
    chosen = "-b 1 -b 2 -b 3 " if bands > 2 else ""
    task = "choose three bands and scale all files alike" if bands > 3 else "scale all files alike"
    return f"{task}: gdal_translate -of PNG -ot Byte -scale {low} {high} 0 255 {chosen}IN OUT.png"
