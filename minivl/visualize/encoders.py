"""Where several encoders look in the same pictures: a figure, and a viewer to play with.

The viewer is HTML with everything inside (see `explorer`): encoder, head, and the share of the
attention that the outline keeps, which DINO's figures set to 60 %.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from minivl.visualize.attention import lit
from minivl.visualize.explorer import Explorer, text64
from minivl.visualize.outline import outline
from minivl.visualize.style import (
    MUTED,
    ORANGE,
    Caption,
    Picture,
    place,
    show_image,
    styled,
    wrap,
    write,
)

EDGE, SIDE, GAP, HEAD, FOOT = 0.15, 1.55, 0.16, 0.3, 0.3

HOW_TO_READ = (
    "Bright cells weigh most when the class token of the last block reads the picture; the outline "
    "holds 60 % of the weight. Below, how much of the weight lies on the thing. One head for each "
    "encoder, for all its pictures the same."
)


@styled
def encoders_figure(
    images: Sequence[np.ndarray],
    maps: Mapping[str, Tensor],
    kept: Mapping[str, Tensor],
    inside: Mapping[str, Tensor],
    *,
    names: Sequence[str],
) -> Picture:
    """One row a picture: the picture, and lit by what each encoder looks at.

    images: n times (h, w, 3) uint8; encoder -> maps (n, gh, gw), not negative; kept: the cells to
    be outlined, bool of the same shape; inside (n,): share of the weight on the thing, written
    below; names: what each picture shows.
    """
    row = SIDE + FOOT + GAP
    width = 2 * EDGE + (len(maps) + 1) * (SIDE + GAP) - GAP
    figure = Picture(figsize=(width, 2 * EDGE + HEAD + len(images) * row - GAP))
    for column, title in enumerate(["the picture", *maps]):
        write(figure, EDGE + column * (SIDE + GAP), EDGE + HEAD - 0.06, title, va="bottom",
              fontsize=10.5, fontweight="bold")  # fmt: skip
    for i, image in enumerate(images):
        top = EDGE + HEAD + i * row
        show_image(place(figure, EDGE, top, SIDE, SIDE), image)
        write(figure, EDGE, top + SIDE + 0.06, wrap(names[i], 20, 1), fontsize=9.5)
        for column, encoder in enumerate(maps, start=1):
            left = EDGE + column * (SIDE + GAP)
            axes = place(figure, left, top, SIDE, SIDE)
            axes.imshow(lit(image, maps[encoder][i].float().numpy()))
            outline(axes, kept[encoder][i].numpy())
            told = f"{100 * inside[encoder][i]:.0f} % on the thing"
            write(figure, left, top + SIDE + 0.06, told, fontsize=9.5, color=MUTED)
    means = ", ".join(f"{name} {100 * inside[name].mean():.0f} %" for name in maps)
    figure.caption = Caption(
        "Where encoders look",
        f"{len(images)} pictures ({'; '.join(names)}) in rows, each beside a heat map an encoder. "
        f"Weight on the thing, the mean over these pictures: {means}.",
        HOW_TO_READ,
    )
    return figure


def heads_viewer(
    images: np.ndarray, maps: Mapping[str, Tensor], shares: Tensor, *, names: Sequence[str],
    still: Picture,
) -> Explorer:  # fmt: skip
    """Choose a picture, an encoder, and how much of the attention is outlined.

    images uint8 (n, h, w, 3); encoder -> maps (n, heads, gh, gw), not negative, of one shape for
    all; shares (n, gh, gw): how much of each cell lies on the thing; names: what each picture
    shows; still: what is seen where scripts do not run. Raises ValueError for other shapes.
    """
    stacked = torch.stack(list(maps.values()))
    e, n, heads, gh, gw = stacked.shape
    if images.shape[0] != n or len(names) != n or shares.shape != (n, gh, gw):
        raise ValueError(
            f"{len(images)} pictures, {len(names)} names, maps {tuple(stacked.shape)} and shares "
            f"{tuple(shares.shape)}: pass n, n, n and (n, gh, gw)"
        )
    height, width = images.shape[1:3]
    sheet = images.transpose(1, 0, 2, 3).reshape(height, n * width, 3)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(sheet)).save(buffer, format="PNG")
    scaled = stacked / stacked.amax(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
    heat = (colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    data = {
        "sheet": "data:image/png;base64," + text64(buffer.getvalue()),
        "names": list(names), "encoders": list(maps), "heads": heads, "gh": gh, "gw": gw,
        "w": width, "h": height, "chosen": e - 1,
        "maps": text64((scaled * 255).round().byte().numpy().tobytes()),
        "shares": text64((shares.clamp(0, 1) * 255).round().byte().numpy().tobytes()),
        "heat": text64(heat.tobytes()), "line": ORANGE,
    }  # fmt: skip
    return Explorer(still, HEADS_SCRIPT, data)


HEADS_SCRIPT = """
const {names, encoders, heads, gh, gw, w, h} = data, cells = gh * gw, side = 168;
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const maps = bytes(data.maps), shares = bytes(data.shares), heat = bytes(data.heat);
const add = (parent, tag, css, text) => {
  const part = document.createElement(tag);
  part.style.cssText = css; part.textContent = text || ''; parent.appendChild(part);
  return part;
};
root.replaceChildren();
const sheet = new Image(), state = {picture: 0, encoder: data.chosen, mass: 60, thing: false};
const thumbs = add(root, 'div', 'display:flex;flex-wrap:wrap;gap:6px');
const controls = add(root, 'div', 'display:flex;flex-wrap:wrap;gap:18px;margin:10px 0');
const row = add(root, 'div', 'display:flex;flex-wrap:wrap;gap:12px');
const buttons = names.map((name, i) => {
  const b = add(thumbs, 'button', 'padding:0;border:0;border-radius:4px;cursor:pointer;' +
    `width:56px;height:56px;outline-offset:1px;background:url(${data.sheet}) -${56 * i}px 0 / ` +
    `${56 * names.length}px 56px`);
  b.setAttribute('aria-label', name); b.title = name;
  b.addEventListener('click', () => { state.picture = i; draw(); });
  return b;
});
const labelled = (text) => {
  const label = add(controls, 'label', 'display:flex;gap:6px;align-items:center');
  add(label, 'span', '', text);
  return label;
};
const select = add(labelled('encoder'), 'select', '');
encoders.forEach((name, i) => { add(select, 'option', '', name).value = i; });
select.value = state.encoder;
select.addEventListener('change', () => { state.encoder = +select.value; draw(); });
const mass = labelled('outline'), slider = add(mass, 'input', '');
Object.assign(slider, {type: 'range', min: 5, max: 100, step: 5, value: state.mass});
const told = add(mass, 'span', 'width:11em;white-space:nowrap');
slider.addEventListener('input', () => { state.mass = +slider.value; draw(); });
const check = add(labelled('show the thing'), 'input', '');
check.type = 'checkbox';
check.addEventListener('change', () => { state.thing = check.checked; draw(); });
const panels = ['the picture', ...Array.from({length: heads}, (_, i) => `head ${i + 1}`)].map(t => {
  const panel = add(row, 'div', `width:${side}px`);
  add(panel, 'b', '', t);
  const canvas = add(panel, 'canvas', `width:${side}px;height:${side * h / w}px;display:block`);
  const dense = Math.ceil(window.devicePixelRatio || 1);
  canvas.width = side * dense; canvas.height = side * h / w * dense;
  const pen = canvas.getContext('2d');
  pen.scale(dense, dense);
  return {pen, canvas, note: add(panel, 'div', 'font-size:12.5px;color:#5f6872')};
});
const cw = side / gw, ch = side * h / w / gh;
// As minivl.evaluation.grounding.mass_mask: drop the darkest cells that hold 1 - mass together.
const kept = (values, share) => {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b] || a - b);
  const total = values.reduce((a, b) => a + b, 0), keep = new Array(cells).fill(false);
  let sum = 0;
  for (const i of order) { sum += values[i]; keep[i] = sum > (1 - share) * total + 1e-9; }
  return keep;
};
const border = (pen, on, colour) => {
  pen.strokeStyle = colour; pen.lineWidth = 2; pen.beginPath();
  const at = (y, x) => y >= 0 && x >= 0 && y < gh && x < gw && on[y * gw + x];
  for (let y = 0; y <= gh; y++) for (let x = 0; x <= gw; x++) {
    if (x < gw && at(y, x) !== at(y - 1, x)) {
      pen.moveTo(x * cw, y * ch); pen.lineTo((x + 1) * cw, y * ch); }
    if (y < gh && at(y, x) !== at(y, x - 1)) {
      pen.moveTo(x * cw, y * ch); pen.lineTo(x * cw, (y + 1) * ch); }
  }
  pen.stroke();
};
const draw = () => {
  const p = state.picture, thing = [...shares.slice(p * cells, (p + 1) * cells)];
  buttons.forEach((b, i) => { b.style.outline = i === p ? '3px solid #D55E00' : 'none'; });
  told.textContent = `${state.mass} % of the weight`;
  const area = thing.reduce((a, b) => a + b, 0) / 255;
  panels.forEach(({pen, canvas, note}, k) => {
    pen.clearRect(0, 0, side, side * h / w);
    pen.drawImage(sheet, p * w, 0, w, h, 0, 0, side, side * h / w);
    canvas.setAttribute('role', 'img');
    if (k) {
      const first = ((state.encoder * names.length + p) * heads + k - 1) * cells;
      const values = [...maps.slice(first, first + cells)];
      const total = values.reduce((a, b) => a + b, 0) || 1;
      const top = Math.max(255, 2 * total / cells);
      values.forEach((value, i) => {
        const c = 3 * Math.round(255 * value / top);
        pen.fillStyle = `rgba(${heat[c]},${heat[c + 1]},${heat[c + 2]},.66)`;
        pen.fillRect(i % gw * cw, Math.floor(i / gw) * ch, cw, ch);
      });
      const on = kept(values, state.mass / 100), count = on.filter(Boolean).length;
      border(pen, on, data.line);
      const both = thing.reduce((a, b, i) => a + (on[i] ? b / 255 : 0), 0);
      const weight = values.reduce((a, b, i) => a + b * thing[i] / 255, 0) / total;
      note.textContent = `${Math.round(100 * weight)} % of the weight on the thing; overlap of ` +
        `the outline ${Math.round(100 * both / (count + area - both))} %`;
    } else note.textContent = `${names[p]}: ${Math.round(100 * area / cells)} % of the area`;
    canvas.setAttribute('aria-label', note.textContent);
    if (state.thing) border(pen, thing.map(share => share > 127), '#fff');
  });
};
sheet.onload = draw;
sheet.src = data.sheet;
"""
