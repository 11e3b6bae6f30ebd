"""Hide any word of a sentence and see what a model would put there: a viewer without a kernel."""

from collections.abc import Sequence

import torch
from torch import Tensor

from minivl.errors import UserError
from minivl.visualize.blanks import Guess
from minivl.visualize.explorer import Explorer
from minivl.visualize.style import (
    GREEN,
    INK,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    share,
    styled,
    write,
)

EDGE, HEAD, LINE, GAP = 0.15, 0.8, 0.21, 0.22
LETTER, WIDEST, TOP = 0.083, 9.4, 3
LONGEST = 14
"""Letters of a word that are shown."""

HOW_TO_READ = (
    "One row a sentence. Each of its words was hidden in turn, the others were shown. Below a word "
    "stand the model's likeliest words for its place, best first; the hidden one is green. A red "
    "word is not among them."
)


def hide_a_word(sentences: Sequence[Sequence[Guess]], shown: int = 3) -> Explorer:
    """Choose a sentence and the word to hide: the likeliest words with bars.

    sentences: for each, a guess for every one of its words in turn. The still picture shows the
    first `shown` sentences. Raises UserError where there is nothing to choose from.
    """
    if not sentences or not all(sentences):
        raise UserError("there is no word to hide", "pass sentences with a guess for each word")
    data = {
        "sentences": [
            [
                {
                    "word": guess.answer,
                    "words": list(guess.words),
                    "shares": [round(float(value), 4) for value in guess.shares],
                    "rank": int(guess.rank),
                }
                for guess in sentence
            ]
            for sentence in sentences
        ]
    }
    return Explorer(every_word(sentences, shown), SCRIPT, data)


def guesses(scores: Tensor, ids: Sequence[int], vocab: Sequence[str], top: int = 5) -> list[Guess]:
    """For each word of a text what a model would put in its place.

    scores (words, vocabulary): of the model, each word hidden in turn; ids: the words' own. Raises
    ValueError where the two differ in number.
    """
    own = scores.gather(1, torch.as_tensor(ids, device=scores.device)[:, None])
    # Equal scores know nothing: a tie counts as lost, as in the evaluation.
    ranks = (~(scores < own)).sum(dim=1) - 1
    best = scores.float().softmax(dim=1).topk(min(top, scores.shape[1]))
    return [
        Guess("", "", vocab[one], tuple(vocab[i] for i in likely), tuple(shares), rank)
        for one, likely, shares, rank in zip(
            ids, best.indices.tolist(), best.values.tolist(), ranks.tolist(), strict=True
        )
    ]


@styled
def every_word(sentences: Sequence[Sequence[Guess]], shown: int = 3) -> Picture:
    """The first sentences with each word hidden in turn, and the likeliest words below it."""
    chosen = sentences[:shown]
    lines = [line for sentence in chosen for line in broken(sentence)]
    tall = (TOP + 1) * LINE + GAP
    right = sum(guess.rank == 0 for sentence in chosen for guess in sentence)
    asked = sum(map(len, chosen))
    width = max(6.0, *(2 * EDGE + sum(map(room, line)) for line in lines))
    figure = Picture(figsize=(width, HEAD + len(lines) * tall))
    headline = f"The hidden word comes first for {share(right, asked, 'words')}"
    write(figure, EDGE, 0.12, headline, fontweight="bold", fontsize=12)
    write(figure, EDGE, 0.42, "each word hidden in turn; below it the likeliest ones", fontsize=10,
          color=MUTED)  # fmt: skip
    for number, line in enumerate(lines):
        x, y = EDGE, HEAD + number * tall
        for guess in line:
            draw_word(figure, x, y, guess)
            x += room(guess)
    told = "; ".join(
        " ".join(f"{guess.answer} ({', '.join(guess.words[:TOP])})" for guess in sentence)
        for sentence in chosen
    )
    alt = f"{headline}. Each word with the likeliest ones for its place: {told}."
    figure.caption = Caption("Every word hidden in turn", alt, HOW_TO_READ)
    return figure


def draw_word(figure: Picture, x: float, y: float, guess: Guess) -> None:
    """A word in bold and, below it, the model's first ones; the hidden one green or missing."""
    found = guess.rank < TOP
    write(figure, x, y, short(guess.answer), fontsize=10.5, fontweight="bold",
          color=INK if found else VERMILLION)  # fmt: skip
    for number, word in enumerate(guess.words[:TOP]):
        hit = number == guess.rank
        mark = " ✓" if hit else ""
        write(figure, x, y + (number + 1) * LINE, f"{short(word)}{mark}", fontsize=9,
              color=GREEN if hit else MUTED)  # fmt: skip


def broken(sentence: Sequence[Guess]) -> list[list[Guess]]:
    """The words in lines that fit the page."""
    lines: list[list[Guess]] = [[]]
    wide = 0.0
    for guess in sentence:
        if lines[-1] and wide + room(guess) > WIDEST:
            lines.append([])
            wide = 0.0
        lines[-1].append(guess)
        wide += room(guess)
    return lines


def room(guess: Guess) -> float:
    """Inches that a word and the ones below it take."""
    below = (len(short(word)) + 2 for word in guess.words[:TOP])
    return LETTER * max(len(short(guess.answer)) * 1.25, *below, 3) + 0.16


def short(word: str) -> str:
    """A word of at most LONGEST letters."""
    return word if len(word) <= LONGEST else word[: LONGEST - 1] + "…"


SCRIPT = """
const {sentences} = data;
root.innerHTML = `<b>Hide a word</b> <select aria-label="sentence" style="max-width:100%"></select>
<div data-part="words" style="display:flex;flex-wrap:wrap;gap:4px;margin:10px 0"></div>
<div data-part="guesses" aria-live="polite"></div>`;
const select = root.querySelector('select');
const part = name => root.querySelector(`[data-part="${name}"]`);
sentences.forEach((s, i) => select.add(new Option(s.map(w => w.word).join(' '), i)));
let chosen = 0;
const line = (word, share, hit) => {
  const row = document.createElement('div'), bar = document.createElement('span');
  row.style.cssText = 'display:flex;align-items:center;gap:8px;margin:2px 0;' +
    (hit ? 'color:#009E73;font-weight:600' : 'color:#22272e');
  bar.style.cssText = 'width:160px;height:10px;background:#eceff2;border-radius:3px;flex:none';
  const fill = document.createElement('span');
  fill.style.cssText = `display:block;height:100%;border-radius:3px;width:${100 * share}%;` +
    `background:${hit ? '#009E73' : '#5f6872'}`;
  bar.append(fill);
  const percent = document.createElement('span');
  percent.style.cssText = 'width:3.2em;text-align:right;flex:none';
  percent.textContent = `${Math.round(100 * share)} %`;
  const name = document.createElement('span');
  name.textContent = word + (hit ? ' ✓' : '');
  row.append(bar, percent, name);
  return row;
};
const draw = () => {
  const sentence = sentences[+select.value];
  part('words').replaceChildren(...sentence.map((guess, at) => {
    const box = document.createElement('button');
    box.style.cssText = 'border-radius:6px;padding:3px 8px;cursor:pointer;font:inherit;' +
      (at === chosen ? 'background:#fff;border:2px dashed #D55E00;color:#D55E00'
        : 'background:#f2f4f6;border:2px solid #d9dde2;color:#22272e');
    box.textContent = at === chosen ? '_____' : guess.word;
    box.setAttribute('aria-label', `hide ${guess.word}`);
    box.addEventListener('click', () => { chosen = at; draw(); });
    return box;
  }));
  const guess = sentence[chosen];
  const rows = guess.words.map((word, i) => line(word, guess.shares[i], i === guess.rank));
  const note = document.createElement('div');
  note.style.color = '#5f6872';
  note.textContent = guess.rank < guess.words.length ? `hidden: ${guess.word}`
    : `hidden: ${guess.word}, in place ${guess.rank + 1}`;
  part('guesses').replaceChildren(...rows, note);
};
select.addEventListener('change', () => { chosen = 0; draw(); });
draw();
"""
