"""Names for pixels: eleven basic colours, and no name for what people would argue about.

Works in Oklab (lightness, chroma, hue), where a hue looks the same at every lightness. Beige,
olive, turquoise and skin tones stay unnamed: a caption should say "brown" only where anybody
would.
"""

import numpy as np

#: (up to this hue in degrees, name when light, name when dark, lightness between the two)
HUES = (
    (13, "pink", "red", 0.62),
    (38, "pink", "red", 0.71),
    (76, "orange", "brown", 0.62),
    (110, "yellow", "brown", 0.76),
    (178, "green", "green", 0.0),
    (200, "", "", 0.0),
    (282, "blue", "blue", 0.0),
    (328, "purple", "purple", 0.0),
    (348, "pink", "purple", 0.6),
    (360, "pink", "red", 0.6),
)


def oklch(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, 3) uint8 sRGB -> lightness (n,) in 0..1, chroma (n,), hue (n,) in degrees."""
    x = rgb.astype(np.float64) / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    lightness, a, b = np.array(to_lab) @ np.cbrt(np.array(to_cones) @ linear.T)
    return lightness, np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360


def colour_names(rgb: np.ndarray) -> np.ndarray:
    """(n, 3) uint8 -> (n,) one of eleven names, or an empty text where none is clear."""
    lightness, chroma, hue = oklch(rgb)
    band = np.searchsorted([limit for limit, *_ in HUES], hue, side="right").clip(max=len(HUES) - 1)
    light, dark, split = (np.array(column)[band] for column in list(zip(*HUES, strict=True))[1:])
    names = np.where(lightness >= split, light, dark).astype("<U6")

    muted = chroma < 0.15
    names[(names == "red") & muted & (lightness < 0.62)] = "brown"
    names[(names == "red") & muted & (lightness >= 0.62)] = ""
    names[(names == "brown") & ~muted] = "orange"  # a strong dark orange is no brown
    names[(names == "orange") & (chroma < 0.12)] = ""  # beige, skin
    names[(hue >= 38) & (hue < 76) & (chroma < 0.12) & (lightness < 0.7)] = "brown"
    names[(names == "yellow") & (chroma < 0.09)] = ""
    names[(hue >= 76) & (hue < 110) & (lightness >= 0.6) & (lightness < 0.76)] = ""  # olive, ochre
    names[(names == "pink") & (chroma > 0.19) & (lightness < 0.66)] = ""  # crimson
    names[(hue >= 34) & (hue < 46) & (lightness < 0.67) & ~muted] = ""  # between red and orange
    names[(hue >= 74) & (hue < 80) & (chroma >= 0.12)] = ""  # between orange and yellow
    names[(hue >= 200) & (hue < 328) & (chroma < 0.065)] = ""  # blue-grey

    plain = chroma < np.where((hue >= 38) & (hue < 110), 0.025, 0.04)
    names[plain] = ""  # between white and grey
    names[plain & (lightness < 0.86)] = "grey"
    names[plain & (lightness > 0.93)] = "white"
    names[(lightness < 0.27) | (plain & (lightness < 0.37))] = "black"
    return names
