"""The page of the report: its style and its frame, which asks nothing of the network."""

import html
from collections.abc import Iterable, Sequence
from string import Template

STYLE = """
:root { color-scheme: light dark; --ink: #22272e; --muted: #5f6872; --line: #d9dde2;
  --page: #fbfbfa; --card: #fff; --accent: #0072b2; --good: #00795a; --bad: #b34700 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --muted: #a0a9b3; --line: #3a4149; --page: #16191d;
    --card: #1f2429; --accent: #56b4e9; --good: #3ecf9f; --bad: #ff9457 }
  figure .wide { filter: brightness(.9) } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.2rem 1rem 4rem; max-width: 56rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
  overflow-wrap: anywhere }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 .3rem }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid var(--line) }
h3 { font-size: 1.12rem; margin: 1.8rem 0 .2rem }
figure h3, figure h4 { font-size: 1.05rem; margin: 0 0 .4rem }
p { margin: .4rem 0 } .muted, figcaption { color: var(--muted) }
.state { font-weight: 600 } .good { color: var(--good) } .bad { color: var(--bad) }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem;
  margin: 1.2rem 0 }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem .9rem }
.card b { display: block; font-size: 1.9rem; line-height: 1.2; font-variant-numeric: tabular-nums }
.card span { display: block; font-size: .9rem } .card .muted { font-size: .82rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 8rem;
  padding-left: 0 }
thead th { color: var(--muted); font-weight: 500; font-size: .88rem }
tbody th { padding-top: 1.1rem; font-size: 1rem }
tbody th small { color: var(--muted); font-weight: 400 }
td.bar { width: 30%; min-width: 7rem }
.scale { display: block; position: relative; height: .7rem; border-radius: .35rem;
  background: var(--line) }
.scale i { position: absolute; top: 0; bottom: 0; display: block }
.scale .value { left: 0; background: var(--accent); border-radius: .35rem }
.scale .chance { width: 2px; top: -.2rem; bottom: -.2rem; background: var(--bad) }
.scale .range { top: .3rem; height: .1rem; bottom: auto; background: var(--ink) }
figure { margin: 1.4rem 0; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; padding: .9rem }
figure .wide { background: #fff; border-radius: .4rem; padding: .5rem }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto }
figcaption { margin-top: .6rem; font-size: .92rem }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .7rem .9rem; overflow-x: auto; font-size: .86rem; line-height: 1.45 }
pre.command { white-space: pre-wrap }
details summary { cursor: pointer; padding: .4rem 0; font-weight: 600 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: .6rem 0 }
dt { color: var(--muted) } dd { margin: 0 }
@media (max-width: 38rem) {
  td.bar, th.bar { display: none } th, td { padding: .3rem .25rem; font-size: .84rem }
  thead th { font-size: .78rem; white-space: normal } th:first-child, td:first-child {
    min-width: 6rem } td.interval { white-space: normal; min-width: 3.6rem }
  h2 { margin-top: 2rem } figure { padding: .5rem; margin-inline: -.4rem }
  figure img.large { max-width: none; width: 38rem }
  dl { grid-template-columns: 1fr } dd { margin-bottom: .4rem } }
@media print { details { display: none } figure { break-inside: avoid } }
"""

# The policy forbids every load but inlined pictures: what opens here opens without a network.
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="icon" href="data:,">
<style>$style</style>
</head>
<body>
$body
</body>
</html>
""")


def page(title: str, parts: Iterable[str]) -> str:
    """The whole document; `parts` are finished HTML, the title is plain text."""
    return PAGE.substitute(title=escape(title), style=STYLE, body="\n".join(filter(None, parts)))


def escape(text: object) -> str:
    """Plain text made safe inside tags and attributes."""
    return html.escape(str(text), quote=True)


def section(title: str, *parts: str) -> str:
    """A heading and finished HTML."""
    return "\n".join([f"<section><h2>{escape(title)}</h2>", *filter(None, parts), "</section>"])


def heading(title: str, text: str = "") -> str:
    """A heading inside a section, and a sentence below it."""
    return f"<h3>{escape(title)}</h3>" + (paragraph(text, "muted") if text else "")


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def command(text: str) -> str:
    """A line to type, or several."""
    return f'<pre class="command">{escape(text)}</pre>'


def folded(title: str, text: str) -> str:
    """Preformatted plain text that is unfolded by a click."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def pairs(rows: Sequence[tuple[str, object]]) -> str:
    """Names and their values."""
    return "<dl>" + "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows
    ) + "</dl>"  # fmt: skip


def figure(source: str, caption: tuple[str, str, str], width: int, level: int = 3) -> str:
    """A picture with (title or "", alternative text, how to read it), headed at a level.

    One wider than 700 pixels keeps its size on a phone, and is scrolled there.
    """
    title, alt, text = map(escape, caption)
    heading = f"<h{level}>{title}</h{level}>" if title else ""
    size = ' class="large"' if width > 700 else ""
    # Drawn at about 150 pixels an inch, shown at 96: sharp on dense screens.
    shown = f' width="{round(width * 0.64)}"' if width > 700 else ""
    reading = f"<figcaption>{text}</figcaption>" if text else ""
    return (
        f'<figure>{heading}<div class="wide"><img{size}{shown} src="{escape(source)}" '
        f'alt="{alt}"></div>{reading}</figure>'
    )
