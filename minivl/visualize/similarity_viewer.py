"""Point at a picture, see its closest sentences: a viewer for Jupyter that needs no kernel.

HTML with an inline script and everything precomputed inside. Where scripts do not run (GitHub, a
notebook that is not trusted), the still picture that the HTML also holds is shown.
"""

import base64
import hashlib
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

import numpy as np

from minivl.visualize.retrieved import pick_examples
from minivl.visualize.style import (
    GREEN,
    INK,
    MUTED,
    VERMILLION,
    Caption,
    Picture,
    place,
    png_bytes,
    share,
    show_image,
    styled,
    verdict,
    wrap,
    write,
)
from minivl.visualize.temperature import closest, softmax

COLUMNS = 6
HOW_TO_READ = (
    "Numbers are the softmax of a picture's cosines with all sentences, divided by the "
    "temperature: what the model would bet on each. Bold and ticked: the true sentence. A green "
    "frame: the bet is right. Mistakes are shown as often as successes where there are enough."
)


@dataclass(frozen=True)
class SimilarityViewer:
    """Shows itself in Jupyter; `still` is the picture for where scripts do not run."""

    html: str
    still: Picture

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {
            "text/plain": f"{type(self).__name__}: {self.still.caption.alt}",
            "text/html": self.html,
        }


def similarity_viewer(
    cosines: np.ndarray,
    images: np.ndarray,
    captions: Sequence[str],
    *,
    temperature: float,
    shown: int = 24,
) -> SimilarityViewer:
    """A viewer of `shown` pictures, half of them mistaken if there are so many.

    cosines: (n, n), picture i and caption j at [i, j], i and i belong together;
    images: (n, h, w, 3) uint8; temperature: what divides cosines before the softmax.
    """
    cosines = np.asarray(cosines, dtype=float)
    n = len(captions)
    if cosines.shape != (n, n) or len(images) != n or temperature <= 0:
        raise ValueError(
            f"{len(images)} pictures, {n} captions, cosines {cosines.shape}, temperature "
            f"{temperature}: pass n, n, (n, n) and a temperature above 0"
        )
    bets = [closest(cosines[i], i) for i in range(n)]
    right = np.array([bet[0] == i for i, bet in enumerate(bets)])
    chosen = pick_examples(right, shown)
    still = draw_still(cosines, images, captions, temperature)
    told = [
        {
            "own": captions[i],
            "bets": [
                {"text": captions[j], "share": round(float(shares[j]), 4), "true": int(j) == int(i)}
                for j in bets[i]
            ],
        }
        for i in chosen
        for shares in [softmax(cosines[i], temperature)]
    ]
    data = {
        "pictures": told, "columns": min(COLUMNS, len(chosen)), "total": n,
        "temperature": f"{temperature:.3g}", "sheet": sheet(images[chosen]),
    }  # fmt: skip
    return SimilarityViewer(as_html(data, still), still)


def sheet(images: np.ndarray) -> str:
    """The pictures side by side in rows of `COLUMNS`, as the address of a WebP picture."""
    from PIL import Image

    n, height, width = images.shape[:3]
    columns = min(COLUMNS, n)
    rows = -(-n // columns)
    page = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * height, i % columns * width
        page[y : y + height, x : x + width] = image
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, format="WEBP", quality=92)
    return "data:image/webp;base64," + encoded(buffer.getvalue())


def encoded(data: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(data).decode("ascii")


def small_png(figure: Picture) -> bytes:
    """A figure as a PNG of 128 colours: a fifth of the size, since notebooks hold it."""
    from PIL import Image

    buffer = io.BytesIO()
    page = Image.open(io.BytesIO(png_bytes(figure))).convert("RGB")
    page.quantize(128).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def as_html(data: dict, still: Picture) -> str:
    """The still as `<img>`, and a script that puts the viewer in its place."""
    # No closing tag may hide in a caption, where it would end the script.
    text = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")
    return PAGE.substitute(
        key=hashlib.sha256(text.encode()).hexdigest()[:12],  # of the content: two builds agree
        still=encoded(small_png(still)),
        alt=html.escape(still.caption.alt, quote=True),
        data=text,
        good=GREEN,
        bad=VERMILLION,
        ink=INK,
        muted=MUTED,
    )


PAGE = Template("""\
<div class="minivl-similarity" data-key="$key">
<img alt="$alt" style="max-width:100%;background:white" src="data:image/png;base64,$still">
<script>
(() => {
  const data = $data;
  const add = (parent, tag, css, text) => {
    const part = document.createElement(tag);
    part.style.cssText = css;
    if (text) part.textContent = text;
    parent.appendChild(part);
    return part;
  };
  const side = 62, rows = Math.ceil(data.pictures.length / data.columns);
  const cut = (i, size) => "background:url('" + data.sheet + "') -" + size * (i % data.columns) +
    "px -" + size * Math.floor(i / data.columns) + "px / " + size * data.columns + "px " +
    size * rows + "px;width:" + size + "px;height:" + size + "px;";
  const start = (root) => {
    root.dataset.ready = "yes";
    root.querySelector("img").style.display = "none";
    const page = add(root, "div", "background:white;color:$ink;padding:10px;border-radius:6px;" +
      "font:14px/1.35 system-ui,sans-serif;display:flex;flex-wrap:wrap;gap:20px;max-width:900px");
    const grid = add(page, "div", "display:grid;gap:6px;align-content:start;" +
      "grid-template-columns:repeat(" + data.columns + "," + side + "px)");
    const panel = add(page, "div", "flex:1;min-width:330px;min-height:290px");
    const buttons = data.pictures.map((picture, i) => {
      const button = add(grid, "button", cut(i, side) + "padding:0;cursor:pointer;border:0;" +
        "border-radius:4px;outline-offset:1px");
      button.setAttribute("aria-label", picture.own);
      for (const event of ["pointerenter", "focus", "click"])
        button.addEventListener(event, () => show(i));
      return button;
    });
    const show = (i) => {
      const picture = data.pictures[i];
      buttons.forEach((button, j) => {
        const good = data.pictures[j].bets[0].true;
        button.style.outline = j === i ? "3px solid " + (good ? "$good" : "$bad") : "none";
      });
      panel.replaceChildren();
      add(panel, "div", cut(i, 120) + "border-radius:4px");
      add(panel, "div", "color:$muted;margin:6px 0 4px;font-size:13px", "closest of " +
        data.total + " sentences, with their softmax at temperature " + data.temperature);
      for (const bet of picture.bets) {
        const line = add(panel, "div", "display:flex;gap:8px;align-items:center;margin:2px 0");
        const colour = bet.true ? "$good" : "$bad";
        add(line, "span", "width:1em;color:" + colour, bet.true ? "✓" : "✗");
        const bar = add(line, "span", "flex:none;width:80px;height:9px;background:#eceff2");
        add(bar, "span", "display:block;height:9px;width:" + 100 * bet.share + "%;background:" +
          colour);
        add(line, "span", "flex:none;width:2.6em;font-variant-numeric:tabular-nums",
          bet.share.toFixed(2));
        add(line, "span", bet.true ? "font-weight:600" : "", bet.text);
      }
    };
    show(0);
  };
  document.querySelectorAll(".minivl-similarity[data-key='$key']:not([data-ready])")
    .forEach(start);
})();
</script>
</div>""")

EDGE, HEAD, THUMB, LINE, WIDTH = 0.15, 0.75, 1.15, 0.38, 4.9


@styled
def draw_still(
    cosines: np.ndarray,
    images: np.ndarray,
    captions: Sequence[str],
    temperature: float,
    *,
    queries: int = 6,
) -> Picture:
    """Some pictures with their three closest sentences and the softmax share of each.

    Arguments as in `similarity_viewer`.
    """
    n = len(captions)
    bets = [closest(cosines[i], i, 3) for i in range(n)]
    right = np.array([bet[0] == i for i, bet in enumerate(bets)])
    shown = pick_examples(right, queries)
    rows = -(-len(shown) // 2)
    figure = Picture(figsize=(2 * WIDTH + EDGE, HEAD + rows * (THUMB + 0.22)))
    headline = f"The closest sentence is the true one for {share(int(right.sum()), n, 'pictures')}"
    write(figure, EDGE, 0.12, headline, fontweight="bold", fontsize=12)
    detail = f"closest sentences with their softmax at temperature {temperature:.3g}"
    write(figure, EDGE, 0.4, detail, fontsize=10, color=MUTED)
    for number, i in enumerate(shown):
        x, y = EDGE + number % 2 * WIDTH, HEAD + number // 2 * (THUMB + 0.22)
        axes = place(figure, x, y, THUMB, THUMB)
        show_image(axes, images[i])
        verdict(axes, bool(right[i]))
        shares = softmax(cosines[i], temperature)
        for line, j in enumerate(bets[i]):
            middle = y + (line + 0.5) * LINE
            own = j == i
            look = {"fontsize": 9, "va": "center", "fontweight": "bold" if own else "normal"}
            colour = GREEN if own else VERMILLION
            write(figure, x + THUMB + 0.12, middle, "✓" if own else "✗", color=colour, **look)
            write(figure, x + THUMB + 0.32, middle, f"{shares[j]:.2f}", **look)
            write(figure, x + THUMB + 0.72, middle, wrap(captions[j], 38, 2), **look)
    alt = f"{len(shown)} pictures, each with its three closest sentences. {headline}."
    figure.caption = Caption("Closest sentences", alt, HOW_TO_READ)
    return figure
