"""`minivl data`: what the models learn from, listed, drawn, counted, verified, rebuilt."""

import argparse
from pathlib import Path
from statistics import mean
from typing import Any

from minivl.commands.parser import Parser
from minivl.commands.runs import SIZES, recipe_class
from minivl.data.examples import SPLITS
from minivl.errors import DataError, UserError

DESCRIPTION = """\
The embedded data: drawings by several artists on photographs, with exact captions. Scenes are
drawn while training reads them, so that their number has no end.

  list      drawings, photographs and texts, with their licences and their split
  preview   a picture of scenes with their captions
  stats     pairs, average words of a caption, vocabulary
  verify    compare every file, and every picture's pixels, with the checksums
  build     make the data anew from the pinned packages (needs npm and apt-get); with --extra:
            fetch what is not shipped. openclipart: drawings with the titles that people gave
            them, for `minivl train albef --noise.titled 0.3`
"""

EXAMPLES = """\
examples
  minivl data preview --split twemoji --out unseen_artist.png
  minivl data stats --size small
  minivl data verify
  minivl data build --extra openclipart
"""

EXTRAS = ("openclipart",)
SAMPLES = 2000


def main(arguments: list[str]) -> int:
    """Run the command."""
    parser = Parser("data", DESCRIPTION, EXAMPLES)
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("--size", choices=SIZES, default="tiny", help="whose scenes (tiny)")
    parser.add_argument("--split", choices=SPLITS, default="train", help="whose artists (train)")
    parser.add_argument("--count", type=int, default=24, help="scenes in the preview (24)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes drawn (0)")
    parser.add_argument("--boxes", action="store_true", help="draw the boxes in the preview")
    parser.add_argument("--out", type=Path, help="file of the preview, folder of the build")
    parser.add_argument("--extra", choices=EXTRAS, help="build this instead of the shipped data")
    parser.add_argument("--downloads", type=Path, help="where the build keeps packages")
    chosen = parser.parse_args(arguments)
    return ACTIONS[chosen.action](chosen)


def show_list(chosen: argparse.Namespace) -> int:
    """Print what is in the pack and which split it belongs to."""
    from minivl.data.pack import Pack
    from minivl.data.splits import Splits

    pack = Pack.load()
    splits = Splits.load(pack)
    print(f"data pack in {pack.root}\n")
    rows = [("drawings", "things", "artist", "split", "licence")]
    for vendor in pack.vendors.values():
        drawn = sum(vendor.name in concept.cells for concept in pack.concepts)
        split = "test" if vendor.name in splits.test_vendors else "train"
        rows.append((vendor.name, f"{drawn:,}", vendor.family, split, vendor.licence))
    print_table(rows)
    print()
    print_table(
        [
            ("split", "photographs", "concepts"),
            ("train", len(splits.train_photos), len(splits.seen_concepts)),
            ("validation", len(splits.validation_photos), "as train"),
            ("test", len(splits.test_photos), "as train"),
            ("held out", "", len(splits.heldout_concepts)),
        ]
    )
    print(f"\nthe course's concepts: {len(splits.course_concepts)} of those seen in training")
    print("words: 30,522 word pieces (bert-base-uncased), WordNet's glosses, names in 8 languages")
    return 0


def source_of(chosen: argparse.Namespace) -> Any:
    """The scenes of the contrastive recipe at the chosen size."""
    from minivl.data.examples import SceneSource

    return SceneSource.load(recipe_class("clip").at_size(chosen.size).data)


def preview(chosen: argparse.Namespace) -> int:
    """Draw scenes with their captions into a PNG."""
    import numpy as np

    from minivl.visualize.scenes import contact_sheet

    if not 1 <= chosen.count <= 400:
        raise UserError(f"--count is {chosen.count}", "give a number from 1 to 400")
    examples = source_of(chosen).examples(chosen.split, chosen.seed)
    numbers = range(chosen.count)
    images = [examples[index]["image"] for index in numbers]
    captions = [examples.caption(index) for index in numbers]
    boxes = [np.array([thing.box for thing in examples.scene(index).things]) for index in numbers]
    path = chosen.out or Path(f"preview_{chosen.split}.png")
    sheet = contact_sheet(images, captions, boxes=boxes if chosen.boxes else None, columns=6)
    sheet.savefig(path, format="png")
    print(f"{chosen.count} scenes of {chosen.split}: {path}")
    return 0


def stats(chosen: argparse.Namespace) -> int:
    """Print the table that papers show of their data: pairs and average words."""
    source = source_of(chosen)
    rows = [("data set", "pairs", "average words", "distinct in 2,000", "vocabulary")]
    for split in SPLITS:
        examples = source.examples(split, chosen.seed)
        captions = [examples.caption(index) for index in range(SAMPLES)]
        rows.append((f"scenes, {split}", "endless", *described(captions)))
    texts = [gloss.text for gloss in source.pack.glosses()]
    words, distinct, vocabulary = described(texts[:: max(1, len(texts) // SAMPLES)][:SAMPLES])
    rows.append(("WordNet glosses", f"{len(texts):,} texts", words, distinct, vocabulary))
    print_table(rows)
    print(f"\nmeasured on {SAMPLES:,} samples of each, scenes of size {chosen.size}")
    return 0


def described(texts: list[str]) -> tuple[str, str, str]:
    """Average words, number of distinct texts, number of distinct words."""
    words = [text.split() for text in texts]
    vocabulary = {word.strip(".,;:()").lower() for text in words for word in text}
    return f"{mean(map(len, words)):.1f}", f"{len(set(texts)):,}", f"{len(vocabulary):,}"


def verify(chosen: argparse.Namespace) -> int:
    """Check the whole pack; DataError names the first bad file after all were printed."""
    from minivl.data import pack

    folder = pack.find()
    problems = pack.verify()
    for problem in problems[1:]:
        print(problem)
    if problems:
        more = f" (and {len(problems) - 1} more, above)" if problems[1:] else ""
        raise DataError(problems[0] + more, f"restore it: git checkout -- {folder.name}")
    print(f"every file of {folder} is as it should be")
    return 0


def build(chosen: argparse.Namespace) -> int:
    """Make the pack anew from its sources, or an extra."""
    if chosen.extra:
        return build_extra(chosen)
    from minivl.data.build import build as build_pack

    out = chosen.out or Path("data")
    build_pack(out, chosen.downloads, progress=print)
    print(f"built {out}; use another folder than data/ with MINIVL_DATA={out}")
    return 0


def build_extra(chosen: argparse.Namespace) -> int:
    """Fetch and write data that is not shipped, where training looks for it."""
    from minivl.data import titled
    from minivl.data.build import build_openclipart

    folder = (chosen.out or titled.extras()) / titled.EXTRA
    build_openclipart(folder, chosen.downloads or titled.DOWNLOADS, progress=print)
    print(f"built {folder}")
    if chosen.out:
        print(f"training finds it with {titled.ENVIRONMENT}={chosen.out}")
    return 0


def print_table(rows: list[tuple]) -> None:
    """Columns as wide as their widest cell; the first row is a heading."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        print("  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


ACTIONS = {"list": show_list, "preview": preview, "stats": stats, "verify": verify, "build": build}
