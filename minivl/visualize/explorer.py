"""Explorers: HTML that answers to mouse and arrow keys without a kernel and without a network.

Everything that can be asked is computed before and travels inside. Where scripts do not run (an
untrusted notebook, a web view of the repository) the still picture inside is seen instead.
"""

import base64
import hashlib
import io
import json
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from minivl.visualize.page import escape
from minivl.visualize.patches import (
    EDGE,
    SIDE,
    WIDTH,
    cut,
    draw_cut,
    draw_sequence,
    sequence_height,
)
from minivl.visualize.positions import position_similarity
from minivl.visualize.style import (
    BLUE,
    GREEN,
    HEAT,
    VERMILLION,
    Caption,
    Picture,
    place,
    png_bytes,
    styled,
    write,
)

COLOURS = 96  # of the still picture: a third of the bytes, no difference to see
MARKS = (VERMILLION, BLUE, GREEN)


class Explorer:
    """Shows itself in Jupyter: interactive where scripts run, else as a still picture."""

    def __init__(self, still: Picture, script: str, data: dict[str, Any]):
        """`script` is the body of a JavaScript function of (root, data) that fills root."""
        self.still = still
        """The same as a plain figure."""
        self.html = html_of(still, script, data)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": f"<{self.still.caption.title}>", "text/html": self.html}


def html_of(still: Picture, script: str, data: dict[str, Any]) -> str:
    """The still picture, and the script that puts the explorer in its place."""
    image = quantised(png_bytes(still))
    # "<" would end the script inside a string; this spelling of it cannot.
    packed = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    key = hashlib.blake2b((script + packed).encode(), digest_size=6).hexdigest()
    width = round(still.get_figwidth() * 96)
    return (
        f'<div data-minivl="{key}" style="background:#fff;color:#22272e;padding:10px;'
        'border-radius:6px;font:14px/1.45 system-ui,sans-serif;overflow-x:auto">'
        f'<img src="data:image/png;base64,{text64(image)}" alt="{escape(still.caption.alt)}" '
        f'style="max-width:100%;width:{width}px"></div>\n'
        f"<script>(() => {{\nconst data = {packed};\n"
        f"const start = (root, data) => {{{script}}};\n"
        f"for (const root of document.querySelectorAll('[data-minivl=\"{key}\"]'))\n"
        "  if (!root.dataset.ready) { root.dataset.ready = 'yes'; start(root, data); }\n"
        "})();</script>"
    )


def quantised(png: bytes) -> bytes:
    """The same picture in few colours."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(COLOURS).save(out, format="PNG", optimize=True)
    return out.getvalue()


def text64(data: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(data).decode()


def patch_explorer(image: np.ndarray, patch_size: int, pos_embed: Tensor) -> Explorer:
    """Choose a patch: its pixels, its place in the sequence, and which places resemble its own.

    image: (h, w, 3) uint8; pos_embed: (1, 1+gh*gw, width), the class token's first.
    """
    patches = cut(image, patch_size)
    gh, gw = patches.shape[:2]
    similarity = position_similarity(pos_embed)
    if len(similarity) != gh * gw:
        raise ValueError(f"{gh} x {gw} patches, but positions for {len(similarity)}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG")
    lowest = min(float(similarity.min()), 0.0)
    heat = (colormaps[HEAT](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    data = {
        "picture": "data:image/png;base64," + text64(buffer.getvalue()),
        "p": patch_size,
        "gh": gh,
        "gw": gw,
        "first": gh * gw // 2 + gw // 2 + 1,
        "lowest": round(lowest, 4),
        "alike": text64(as_bytes(similarity, lowest).tobytes()),
        "heat": text64(heat.tobytes()),
    }
    return Explorer(patch_still(patches, similarity), PATCH_SCRIPT, data)


def as_bytes(similarity: np.ndarray, lowest: float) -> np.ndarray:
    """Values from `lowest` to 1 as 0 to 255."""
    return ((similarity - lowest) / (1 - lowest) * 255).round().clip(0, 255).astype(np.uint8)


@styled
def patch_still(patches: np.ndarray, similarity: np.ndarray) -> Picture:
    """The explorer with three patches chosen. (gh, gw, p, p, 3), (gh*gw, gh*gw)."""
    gh, gw = patches.shape[:2]
    chosen = sorted({gw // 2, (gh // 2) * gw + gw // 2, gh * gw - gw})
    frames = dict(zip(chosen, MARKS, strict=False))
    height = SIDE * gh / gw
    below = EDGE + 0.26 + height + 0.2
    figure = Picture(figsize=(WIDTH, below + sequence_height(gh * gw, WIDTH - 2 * EDGE)))
    write(figure, EDGE, EDGE, "three patches of a picture", fontsize=10.5)
    draw_cut(place(figure, EDGE, EDGE + 0.26, SIDE, height), patches, frames)
    lowest = min(float(similarity.min()), 0.0)
    for column, (patch, colour) in enumerate(frames.items()):
        left = EDGE + SIDE + 0.35 + column * 1.95
        row, at = divmod(patch, gw)
        words = f"token {patch + 1}:\nrow {row + 1}, column {at + 1}"
        write(figure, left, EDGE, words, fontsize=9.5, color=colour, fontweight="bold")
        pixels = place(figure, left, EDGE + 0.42, 0.62, 0.62)
        pixels.imshow(patches[row, at], interpolation="nearest")
        pixels.spines[:].set(visible=True, color=colour, linewidth=2)
        write(figure, left, EDGE + 1.12, "places like its own:", fontsize=9)
        heat = place(figure, left, EDGE + 1.32, 1.4, 1.4 * gh / gw)
        heat.imshow(similarity[patch].reshape(gh, gw), cmap=HEAT, vmin=lowest, vmax=1)
        heat.plot(at, row, "o", markersize=5, color=colour, markeredgecolor="white")
    draw_sequence(figure, below, patches, frames)
    alt = (
        f"A picture cut into {gh} by {gw} patches with three of them framed. Beside it each of the "
        "three, its token number, and a map of how alike its position embedding is to that of "
        "every place. Below, all tokens in a row."
    )
    figure.caption = Caption("Patch explorer", alt)
    return figure


PATCH_SCRIPT = """
const {p, gh, gw, lowest} = data, n = gh * gw, side = 330, map = 240;
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const alike = bytes(data.alike), heat = bytes(data.heat);
root.innerHTML = `<div style="display:flex;flex-wrap:wrap;gap:22px">
<div><b>the picture</b>: click a patch<br><canvas data-part="picture"></canvas></div>
<div style="width:150px"><b data-part="name"></b><br><canvas data-part="patch"></canvas>
<div data-part="place"></div></div>
<div><b>how alike its place is to the others</b><br><canvas data-part="map"></canvas>
<div data-part="scale" style="font-size:12px"></div></div></div>
<b>the sequence</b>: click a token, or slide<br><canvas data-part="row"></canvas><br>
<input type="range" min="0" max="${n}" aria-label="token" style="width:min(100%,800px)">`;
const part = name => root.querySelector(`[data-part="${name}"]`);
const slider = root.querySelector('input'), image = new Image();
const canvas = (name, w, h) => {
  const c = part(name), dense = Math.ceil(window.devicePixelRatio || 1);
  c.width = w * dense; c.height = h * dense;
  c.style.cssText = `width:${w}px;height:${h}px;cursor:pointer;touch-action:none`;
  const pen = c.getContext('2d');
  pen.scale(dense, dense); pen.imageSmoothingEnabled = false;
  return pen;
};
const cell = side / gw, step = map / gw;
const per = Math.min(n + 1, 38), box = Math.min(40, Math.floor(836 / per));
const rows = Math.ceil((n + 1) / per);
const pens = {picture: canvas('picture', side, cell * gh), patch: canvas('patch', 130, 130),
  map: canvas('map', map, step * gh), row: canvas('row', per * box, rows * (box + 4))};
const pixels = (pen, k, x, y, size) => pen.drawImage(
  image, (k % gw) * p, Math.floor(k / gw) * p, p, p, x, y, size, size);
const ring = (pen, x, y, size, colour) => {
  pen.lineWidth = 4; pen.strokeStyle = '#fff'; pen.strokeRect(x + 1, y + 1, size - 2, size - 2);
  pen.lineWidth = 2.5; pen.strokeStyle = colour; pen.strokeRect(x + 1, y + 1, size - 2, size - 2);
};
const draw = token => {
  const k = token - 1, at = [k % gw, Math.floor(k / gw)];
  pens.picture.clearRect(0, 0, side, cell * gh);
  pens.map.clearRect(0, 0, map, step * gh);
  for (let i = 0; i < n; i++) {
    const x = i % gw, y = Math.floor(i / gw);
    pixels(pens.picture, i, x * cell, y * cell, cell - 1.5);
    const value = k < 0 ? 0 : alike[k * n + i];
    pens.map.fillStyle = k < 0 ? '#d9dde2' : `rgb(${heat.slice(3 * value, 3 * value + 3)})`;
    pens.map.fillRect(x * step, y * step, step - 1, step - 1);
    if (k >= 0 && step >= 34) {
      pens.map.fillStyle = value > 150 ? '#000' : '#fff'; pens.map.font = '11px sans-serif';
      pens.map.textAlign = 'center';
      const shown = lowest + value / 255 * (1 - lowest);
      pens.map.fillText(shown.toFixed(2), (x + .5) * step, (y + .5) * step + 4);
    }
  }
  for (let i = 0; i <= n; i++) {
    const x = (i % per) * box, y = Math.floor(i / per) * (box + 4);
    pens.row.clearRect(x, y, box, box + 4);
    pens.row.fillStyle = '#5f6872';
    if (i) pixels(pens.row, i - 1, x + 1, y + 1, box - 2);
    else pens.row.fillRect(x + 1, y + 1, box - 2, box - 2);
    if (i === token) ring(pens.row, x, y, box, '#D55E00');
  }
  pens.patch.clearRect(0, 0, 130, 130);
  part('name').textContent = 'token ' + token;
  part('scale').textContent = k < 0 ? '' : 'cosine of the position embeddings; 1 at itself';
  if (k < 0) {
    part('place').textContent = 'the class token: learned, made of no patch';
  } else {
    pixels(pens.patch, k, 0, 0, 130);
    ring(pens.picture, at[0] * cell, at[1] * cell, cell - 1.5, '#D55E00');
    ring(pens.map, at[0] * step, at[1] * step, step - 1, '#D55E00');
    part('place').textContent = `row ${at[1] + 1}, column ${at[0] + 1} of the grid; ` +
      `${3 * p * p} numbers`;
  }
  slider.value = token;
};
const listen = (name, find) => {
  const c = part(name);
  const move = e => {
    if (e.type === 'pointermove' && !e.buttons) return;
    const r = c.getBoundingClientRect();
    const token = find(e.clientX - r.left, e.clientY - r.top);
    if (token >= 0 && token <= n) draw(token);
  };
  c.addEventListener('pointerdown', move); c.addEventListener('pointermove', move);
};
const inside = (x, y, s) => x < 0 || y < 0 || x >= s * gw || y >= s * gh ? -1 :
  Math.floor(y / s) * gw + Math.floor(x / s) + 1;
listen('picture', (x, y) => inside(x, y, cell));
listen('map', (x, y) => inside(x, y, step));
listen('row', (x, y) => x < 0 || x >= per * box ? -1 :
  Math.floor(y / (box + 4)) * per + Math.floor(x / box));
slider.addEventListener('input', () => draw(+slider.value));
image.onload = () => draw(data.first);
image.src = data.picture;
"""
