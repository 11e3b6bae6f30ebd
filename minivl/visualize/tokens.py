"""Sentences as rows of word pieces: the pieces, their ids, and what padding hides."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from minivl.data.text import SPECIAL_TOKENS, WordPiece
from minivl.visualize.explorer import Explorer
from minivl.visualize.style import (
    BLUE,
    GREEN,
    HAIRLINE,
    MUTED,
    Caption,
    Picture,
    place,
    styled,
    wrap,
    write,
)

HOW_TO_READ = (
    "One row a sentence, one box a token: the piece and, below it, its id. Green boxes begin a "
    "word, blue ones with ## go on with it, dark ones are special tokens. Pale boxes are padding: "
    "the mask is 0 there, and nothing may look at them."
)
EDGE, BOX, HEIGHT, LINE = 0.15, 0.72, 0.46, 0.27


def token_explorer(sentences: Sequence[str], text: WordPiece) -> Explorer:
    """Choose a sentence and a token: its piece, its word, its id, its mask, its place.

    sentences: padded together as one batch. Raises UserError for what is no list of sentences.
    """
    batch = text.batch(sentences)
    ids, mask = batch["input_ids"].numpy(), batch["attention_mask"].numpy()
    pieces = [[text.vocab[i] for i in row] for row in ids]
    data = {
        "sentences": list(sentences),
        "pieces": pieces,
        "ids": ids.tolist(),
        "mask": mask.astype(int).tolist(),
        "special": list(SPECIAL_TOKENS),
    }
    return Explorer(token_sheet(sentences, pieces, ids, mask), TOKEN_SCRIPT, data)


@styled
def token_sheet(
    sentences: Sequence[str], pieces: Sequence[Sequence[str]], ids: np.ndarray, mask: np.ndarray
) -> Picture:
    """The batch as a table. pieces, ids, mask: (sentences, tokens); mask: True = a real token."""
    count, length = np.shape(ids)
    longest = max((len(piece) for row in pieces for piece in row), default=0)
    box = max(BOX, 0.085 * longest + 0.14)
    row_height = LINE + HEIGHT + 0.2
    width = max(2 * EDGE + length * box, 5.0)
    figure = Picture(figsize=(width, EDGE + count * row_height))
    for row, sentence in enumerate(sentences):
        top = EDGE + row * row_height
        letters = round((width - 2 * EDGE) * 12)
        write(figure, EDGE, top, f"“{wrap(sentence, letters, 1)}”", fontsize=10.5)
        axes = place(figure, EDGE, top + LINE, length * box, HEIGHT)
        axes.set(xlim=(0, length * box), ylim=(HEIGHT, 0))
        for at in range(length):
            draw_token(axes, at * box, box, pieces[row][at], int(ids[row][at]), bool(mask[row][at]))
    real = int(np.sum(mask))
    alt = (
        f"{count} sentences as rows of {length} boxes, each with a word piece and its id. "
        f"{real} of the {count * length} tokens are real, the others are padding. "
        + "; ".join(" ".join(row[: int(np.sum(m))]) for row, m in zip(pieces, mask, strict=True))
        + "."
    )
    figure.caption = Caption("Token explorer", alt, HOW_TO_READ)
    return figure


def draw_token(axes: Axes, x: float, width: float, piece: str, number: int, real: bool) -> None:
    """One box with its piece and id."""
    fill, edge = colours(piece, real)
    shape = FancyBboxPatch(
        (x + 0.03, 0.02), width - 0.06, HEIGHT - 0.04, boxstyle="round,pad=0,rounding_size=0.05"
    )
    shape.set(facecolor=fill, edgecolor=edge, linewidth=1.3, clip_on=False)
    axes.add_patch(shape)
    middle, ink = x + width / 2, "#22272e" if real else MUTED
    axes.text(middle, 0.16, piece, ha="center", va="center", fontsize=9, color=ink)
    axes.text(middle, 0.34, str(number), ha="center", va="center", fontsize=8, color=MUTED)


def colours(piece: str, real: bool) -> tuple[str, str]:
    """Fill and edge of a token's box."""
    if not real:
        return "#f7f8f9", HAIRLINE
    if piece in SPECIAL_TOKENS:
        return "#d9dde2", MUTED
    return ("#ddecf6", BLUE) if piece.startswith("##") else ("#dff1eb", GREEN)


TOKEN_SCRIPT = """
const {sentences, pieces, ids, mask, special} = data;
root.innerHTML = `<b>sentence</b> <select aria-label="sentence" style="max-width:100%"></select>
<div data-part="boxes" style="display:flex;flex-wrap:wrap;gap:5px;margin:10px 0"></div>
<input type="range" min="0" max="${ids[0].length - 1}" value="1" aria-label="token"
 style="width:min(100%,500px)"><div data-part="words" aria-live="polite"></div>`;
const select = root.querySelector('select'), slider = root.querySelector('input');
const part = name => root.querySelector(`[data-part="${name}"]`);
sentences.forEach((s, i) => select.add(new Option(s, i)));
const kind = (piece, real) => !real ? ['#f7f8f9', '#d9dde2'] :
  special.includes(piece) ? ['#d9dde2', '#5f6872'] :
  piece.startsWith('##') ? ['#ddecf6', '#0072B2'] : ['#dff1eb', '#009E73'];
const wordOf = (row, t) => {
  let first = t, word = '';
  while (first > 0 && pieces[row][first].startsWith('##')) first--;
  for (let i = first; i === first || (i < pieces[row].length &&
    pieces[row][i].startsWith('##')); i++) word += pieces[row][i].replace(/^##/, '');
  return word;
};
const draw = () => {
  const row = +select.value, chosen = +slider.value;
  part('boxes').replaceChildren(...pieces[row].map((piece, t) => {
    const box = document.createElement('button'), real = mask[row][t];
    const [fill, edge] = kind(piece, real);
    box.style.cssText = `background:${fill};border:2px solid ${t === chosen ? '#D55E00' : edge};` +
      `color:${real ? '#22272e' : '#5f6872'};border-radius:6px;padding:3px 7px;cursor:pointer;` +
      'font:13px/1.35 ui-monospace,monospace;text-align:center';
    for (const line of [piece, ids[row][t], real ? 'mask 1' : 'mask 0']) {
      const div = document.createElement('div');
      div.textContent = line; box.append(div);
    }
    box.addEventListener('click', () => { slider.value = t; draw(); });
    return box;
  }));
  const piece = pieces[row][chosen], real = mask[row][chosen];
  const about = !real ? 'padding: no token may look at it' :
    special.includes(piece) ? 'a special token, no part of the sentence' :
    `a piece of the word “${wordOf(row, chosen)}”`;
  part('words').textContent = `token ${chosen}: ${piece}, id ${ids[row][chosen]}, ${about}`;
};
select.addEventListener('change', draw); slider.addEventListener('input', draw);
draw();
"""
