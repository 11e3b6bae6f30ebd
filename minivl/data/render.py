"""From scene graph to pixels: sprites composited on a photograph, with exact masks."""

from functools import lru_cache

import numpy as np
from PIL import Image

from minivl.data.pack import Pack
from minivl.data.scenes import Scene, Sprite, Thing

OPAQUE = 128
"""Alpha from which a pixel counts as part of the drawing (masks, boxes)."""


class Renderer:
    """Draws scenes; keeps each photograph and each sprite at the sizes it was asked for."""

    def __init__(self, pack: Pack, image_size: int):
        self.pack = pack
        self.image_size = image_size
        # Bound methods cached per instance: scenes reuse few photographs and sprite sizes.
        self._photo = lru_cache(maxsize=None)(self._load_photo)
        self._sprite = lru_cache(maxsize=65536)(self._load_sprite)

    def image(self, scene: Scene) -> np.ndarray:
        """The picture, uint8 (height, width, 3)."""
        canvas = self.background(scene)
        for thing in scene.things:
            colour, alpha = self._sprite(thing.vendor, thing.concept, thing.box[2], thing.box[3])
            x, y, w, h = thing.box
            # Two bytes hold the product of two; +127 rounds the division to the nearest value.
            under = canvas[y : y + h, x : x + w].astype(np.uint16)
            mixed = colour + (under * (255 - alpha) + 127) // 255
            # Colour and photograph are rounded apart: white on white may add up to 256.
            canvas[y : y + h, x : x + w] = np.minimum(mixed, 255)
        return canvas

    def background(self, scene: Scene) -> np.ndarray:
        """The photograph's crop, uint8 (height, width, 3)."""
        fx, fy, side_fraction, flipped = scene.crop
        photo = self._photo(scene.photo, side_fraction)
        size = self.image_size
        x, y = round(fx * (photo.shape[1] - size)), round(fy * (photo.shape[0] - size))
        crop = photo[y : y + size, x : x + size]
        crop = crop[:, ::-1] if flipped else crop
        if scene.light is None:
            return crop.copy()
        contrast, brightness = np.float32(scene.light[:3]), np.float32(scene.light[3])
        lit = (crop - np.float32(128)) * contrast + (128 + brightness)
        return lit.clip(0, 255).astype(np.uint8)

    def masks(self, scene: Scene) -> np.ndarray:
        """Which pixels show which thing, bool (things, height, width); drawings never overlap."""
        masks = np.zeros((len(scene.things), self.image_size, self.image_size), dtype=bool)
        for mask, thing in zip(masks, scene.things, strict=True):
            x, y, w, h = thing.box
            mask[y : y + h, x : x + w] = self.alpha(thing) >= OPAQUE
        return masks

    def alpha(self, thing: Thing) -> np.ndarray:
        """Opacity of a thing's drawing inside its box, uint16 (height, width), 0 to 255."""
        return self._sprite(thing.vendor, thing.concept, *thing.box[2:])[1][..., 0]

    def _load_photo(self, name: str, side_fraction: float) -> np.ndarray:
        photo = Image.fromarray(self.pack.photo(name))
        height = round(self.image_size / side_fraction)
        width = photo.width * height // photo.height
        return np.asarray(photo.resize((width, height), Image.LANCZOS))

    def _load_sprite(
        self, vendor: str, concept: str, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        cell = self.pack.sprite(vendor, concept)
        x0, y0, x1, y1 = opaque_box(cell)
        drawing = Image.fromarray(cell[y0:y1, x0:x1]).convert("RGBa")
        pixels = np.asarray(
            drawing.resize((width, height), Image.LANCZOS if width > 64 else Image.BOX)
        )
        return pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)


def opaque_box(cell: np.ndarray) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the visible part of a sprite (64, 64, 4); the whole cell if none is."""
    visible = cell[..., 3] >= OPAQUE
    if not visible.any():
        return 0, 0, cell.shape[1], cell.shape[0]
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def sprite_of(pack: Pack, vendor: str, concept: str, name: str) -> Sprite:
    """The world's entry for one drawing of the pack."""
    x0, y0, x1, y1 = opaque_box(pack.sprite(vendor, concept))
    colour = pack.concept(concept).colour.get(vendor)
    return Sprite(concept, name, vendor, colour, (x1 - x0, y1 - y0))
