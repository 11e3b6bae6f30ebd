"""Where FLAVA's third encoder looks: from [CLS_M], or from any word, at patches and at words.

The viewer is HTML with everything inside (see `explorer`): choose a pair, a head, and which token
asks.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn

from minivl.data.examples import to_tensor
from minivl.data.text import WordPiece
from minivl.errors import UserError
from minivl.visualize.attention import lit
from minivl.visualize.diagram import pale
from minivl.visualize.explorer import Explorer, text64
from minivl.visualize.style import (
    GREEN,
    INK,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    show_image,
    styled,
    write,
)

EDGE, SIDE, GAP, HEAD, LINE = 0.15, 1.5, 0.2, 0.62, 0.3
LETTER, WIDEST = 0.088, 6.0
ASKING = "[CLS_M]"

HOW_TO_READ = (
    "The class token [CLS_M] of the last block shares out its attention, the mean of its heads: "
    "bright patches and dark words get most. Below the words: what patches, words and class tokens "
    "get in all, and how far the matching head believes that the two belong together."
)


@dataclass(frozen=True)
class Look:
    """One pair, and how the last block's tokens share out their attention over it."""

    image: np.ndarray
    """uint8 (h, w, 3)."""
    words: tuple[str, ...]
    """The pieces of the text, [CLS] and [SEP] included."""
    patches: Tensor
    """(heads, 1+t, gh, gw): from [CLS_M] and from each word at the patches."""
    texts: Tensor
    """(heads, 1+t, t): at the words."""
    classes: Tensor
    """(heads, 1+t): at [CLS_M] and [CLS_I] together."""
    belief: float
    """The matching head's share for "they belong together"."""
    is_pair: bool
    """Whether they do."""


@torch.no_grad()
def looks(
    model: nn.Module,
    text: WordPiece,
    images: np.ndarray,
    sentences: Sequence[str],
    is_pair: Sequence[bool],
    *,
    max_length: int,
) -> list[Look]:
    """What a model in evaluation mode does with picture i beside sentence i.

    images uint8 (n, h, w, 3), is_pair (n): whether they belong together.
    Raises ValueError where the numbers of pictures, sentences and answers differ.
    """
    found = []
    device = next(model.parameters()).device
    for image, sentence, true in zip(images, sentences, is_pair, strict=True):
        batch = text.batch([sentence], max_length)
        ids, seen = batch["input_ids"].to(device), batch["attention_mask"].to(device)
        states, maps = model.encode_pair(
            to_tensor(image[None]).to(device), ids, seen, return_attention=True
        )
        belief = float(model.itm_head(states).softmax(dim=1)[0, 1])
        found.append(split(maps[-1][0].cpu().float(), image, text, ids[0].tolist(), belief, true))
    return found


def split(
    weights: Tensor,
    image: np.ndarray,
    text: WordPiece,
    ids: Sequence[int],
    belief: float,
    is_pair: bool,
) -> Look:
    """A block's weights (heads, 2+n+t, 2+n+t) over [CLS_M], [CLS_I], n patches and t words."""
    t = len(ids)
    asking = torch.cat([weights[:, :1], weights[:, -t:]], dim=1)  # (heads, 1+t, all)
    n = weights.shape[-1] - 2 - t
    side = round((n * image.shape[0] / image.shape[1]) ** 0.5)
    return Look(
        image,
        tuple(text.vocab[i] for i in ids),
        asking[:, :, 2 : 2 + n].unflatten(2, (side, n // side)),
        asking[:, :, 2 + n :],
        asking[:, :, :2].sum(dim=2),
        belief,
        bool(is_pair),
    )


def shares(look: Look) -> dict[str, float]:
    """How [CLS_M] divides its attention, heads together: over patches, words, class tokens."""
    return {
        "patches": float(look.patches[:, 0].sum((1, 2)).mean()),
        "words": float(look.texts[:, 0].sum(1).mean()),
        "class tokens": float(look.classes[:, 0].mean()),
    }


def verdict(look: Look) -> str:
    """'belongs together: 93 %, and it does'."""
    true = "it does" if look.is_pair else "it does not"
    return f"“belong together”: {100 * look.belief:.0f} %; in truth {true}"


@styled
def fused_figure(found: Sequence[Look], shown: int = 4) -> Picture:
    """The picture, the picture lit by [CLS_M], and the words shaded by it; one row a pair."""
    chosen = found[:shown]
    figure = Picture(
        figsize=(3 * EDGE + 2 * SIDE + GAP + WIDEST, HEAD + len(chosen) * (SIDE + GAP))
    )
    write(figure, EDGE, 0.12, f"Where {ASKING} looks", fontweight="bold", fontsize=12)
    for row, look in enumerate(chosen):
        top = HEAD + row * (SIDE + GAP) - 0.1
        show_image(place(figure, EDGE, top, SIDE, SIDE), look.image)
        heat = look.patches[:, 0].mean(dim=0).numpy()
        place(figure, EDGE + SIDE + 0.1, top, SIDE, SIDE).imshow(lit(look.image, heat))
        left = EDGE + 2 * SIDE + 0.1 + GAP
        y = draw_words(figure, left, top + 0.08, look)
        told = ", ".join(f"{name} {100 * value:.0f} %" for name, value in shares(look).items())
        write(figure, left, y, told, fontsize=9.5, color=MUTED)
        right = (look.belief > 0.5) == look.is_pair
        write(figure, left, y + 0.22, verdict(look), fontsize=9.5,
              color=GREEN if right else VERMILLION)  # fmt: skip
    figure.caption = Caption(f"Where {ASKING} looks", alt_text(chosen), HOW_TO_READ)
    return figure


def draw_words(figure: Picture, left: float, top: float, look: Look) -> float:
    """The words, each shaded by what it gets, in lines; returns the height below them."""
    weights = look.texts[:, 0].mean(dim=0)
    strongest = max(float(weights.max()), 1e-9)
    x = left
    for word, weight in zip(look.words, weights.tolist(), strict=True):
        room = LETTER * len(word) + 0.16
        if x + room > left + WIDEST - 0.2:
            x, top = left, top + LINE
        shade = {"boxstyle": "square,pad=0.18", "linewidth": 0,
                 "facecolor": pale(VERMILLION, 0.75 * weight / strongest)}  # fmt: skip
        write(figure, x + 0.04, top, word, fontsize=10, color=INK, bbox=shade)
        x += room
    return top + LINE + 0.06


def alt_text(found: Sequence[Look]) -> str:
    """The figure in words: shares and the word that gets most, pair by pair."""
    sentences = []
    for look in found:
        most = look.words[int(look.texts[:, 0].mean(dim=0).argmax())]
        told = ", ".join(f"{name} {100 * value:.0f} %" for name, value in shares(look).items())
        sentence = " ".join(look.words[1:-1])
        sentences.append(f"“{sentence}”: {told}, most of the words {most}; {verdict(look)}.")
    return "Pictures beside heat maps and shaded sentences. " + " ".join(sentences)


def fused_viewer(found: Sequence[Look], shown: int = 4) -> Explorer:
    """Choose a pair, a head and the token that asks; the still picture shows the first pairs.

    Raises UserError where there is no pair, or where pictures differ in size.
    """
    if not found or len({look.image.shape for look in found}) != 1:
        raise UserError("there is nothing to look at", "pass pairs whose pictures have one size")
    height, width = found[0].image.shape[:2]
    sheet = np.concatenate([look.image for look in found], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(sheet)).save(buffer, format="PNG")
    heat = (colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    heads, _, gh, gw = found[0].patches.shape
    data = {
        "sheet": "data:image/png;base64," + text64(buffer.getvalue()),
        "heat": text64(heat.tobytes()),
        "w": width, "h": height, "gh": gh, "gw": gw, "heads": heads,
        "pairs": [
            {
                "words": list(look.words),
                "weights": packed(look),
                "told": verdict(look),
                "right": (look.belief > 0.5) == look.is_pair,
            }
            for look in found
        ],
    }  # fmt: skip
    return Explorer(fused_figure(found, shown), SCRIPT, data)


def packed(look: Look) -> str:
    """Weights as 16-bit numbers, (heads, 1+t, 1+n+t): class tokens together, patches, words."""
    every = torch.cat(
        [look.classes.unsqueeze(2), look.patches.flatten(2), look.texts], dim=2
    ).clamp(0, 1)
    return text64((every * 65535).round().numpy().astype("<u2").tobytes())


SCRIPT = """
const {pairs, heads, gh, gw, w, h} = data, n = gh * gw, side = 260;
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const heat = bytes(data.heat);
const weights = pairs.map(pair => new Uint16Array(bytes(pair.weights).buffer));
root.innerHTML = `<b>Where does it look?</b>
<div data-part="thumbs" style="display:flex;flex-wrap:wrap;gap:6px;margin:8px 0"></div>
<label>head <select aria-label="head"></select></label>
<div style="display:flex;flex-wrap:wrap;gap:22px;margin-top:8px">
<canvas role="img" style="width:${side}px;height:${side * h / w}px"></canvas>
<div style="max-width:430px"><div>who asks? click a word or [CLS_M]</div>
<div data-part="words" style="display:flex;flex-wrap:wrap;gap:4px;margin:8px 0"></div>
<div data-part="shares" aria-live="polite" style="color:#5f6872"></div>
<div data-part="told"></div></div></div>`;
const part = name => root.querySelector(`[data-part="${name}"]`);
const select = root.querySelector('select'), canvas = root.querySelector('canvas');
select.add(new Option('all, their mean', -1));
for (let i = 0; i < heads; i++) select.add(new Option(`head ${i + 1}`, i));
const dense = Math.ceil(window.devicePixelRatio || 1), pen = canvas.getContext('2d');
canvas.width = side * dense; canvas.height = side * h / w * dense; pen.scale(dense, dense);
const state = {pair: 0, asks: 0}, sheet = new Image();
const thumbs = pairs.map((pair, i) => {
  const b = document.createElement('button');
  b.style.cssText = 'padding:0;border:0;border-radius:4px;cursor:pointer;width:56px;height:56px;' +
    `outline-offset:1px;background:url(${data.sheet}) -${56 * i}px 0 / ${56 * pairs.length}px 56px`;
  b.setAttribute('aria-label', pair.words.join(' ')); b.title = pair.words.join(' ');
  b.addEventListener('click', () => { state.pair = i; state.asks = 0; draw(); });
  part('thumbs').append(b);
  return b;
});
const row = () => {
  const t = pairs[state.pair].words.length, wide = 1 + n + t, all = weights[state.pair];
  const chosen = +select.value < 0 ? [...Array(heads).keys()] : [+select.value];
  return Array.from({length: wide}, (_, k) => chosen.reduce((sum, head) =>
    sum + all[(head * (1 + t) + state.asks) * wide + k], 0) / chosen.length / 65535);
};
const draw = () => {
  const pair = pairs[state.pair], values = row();
  const patches = values.slice(1, 1 + n), texts = values.slice(1 + n);
  const sum = list => list.reduce((a, b) => a + b, 0);
  thumbs.forEach((b, i) => {
    b.style.outline = i === state.pair ? '3px solid #D55E00' : 'none'; });
  pen.clearRect(0, 0, side, side * h / w);
  pen.drawImage(sheet, state.pair * w, 0, w, h, 0, 0, side, side * h / w);
  const top = Math.max(...patches, 2 * sum(patches) / n, 1e-9);
  const cw = side / gw, ch = side * h / w / gh;
  patches.forEach((value, i) => {
    const c = 3 * Math.round(255 * value / top);
    pen.fillStyle = `rgba(${heat[c]},${heat[c + 1]},${heat[c + 2]},.6)`;
    pen.fillRect(i % gw * cw, Math.floor(i / gw) * ch, cw, ch);
  });
  const most = Math.max(...texts, 1e-9);
  const names = ['[CLS_M]', ...pair.words];
  part('words').replaceChildren(...names.map((word, i) => {
    const box = document.createElement('button');
    const shade = i ? .75 * texts[i - 1] / most : 0;
    box.style.cssText = 'border-radius:6px;padding:3px 8px;cursor:pointer;font:inherit;' +
      `color:#22272e;background:rgba(213,94,0,${shade});` +
      `border:2px ${i === state.asks ? 'dashed #0072B2' : 'solid #d9dde2'}`;
    box.textContent = word;
    box.setAttribute('aria-pressed', i === state.asks);
    box.addEventListener('click', () => { state.asks = i; draw(); });
    return box;
  }));
  const percent = value => `${Math.round(100 * value)} %`;
  const told = `${names[state.asks]} looks at patches ${percent(sum(patches))}, words ` +
    `${percent(sum(texts))}, class tokens ${percent(values[0])}`;
  part('shares').textContent = told;
  canvas.setAttribute('aria-label', told);
  part('told').textContent = pair.told;
  part('told').style.color = pair.right ? '#009E73' : '#D55E00';
};
select.addEventListener('change', draw);
sheet.onload = draw;
sheet.src = data.sheet;
"""
