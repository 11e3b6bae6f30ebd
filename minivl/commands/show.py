"""`minivl show RUN IMAGE "a sentence"`: do they fit, against what else, and where it looked."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivl.commands.parser import Parser
from minivl.commands.pictures import SHOWN, device, file_name, picture_of, write
from minivl.commands.runs import Trained, load_model, open_run
from minivl.errors import UserError
from minivl.recipes import ASKABLE

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from minivl.data.examples import SceneSource
    from minivl.visualize.style import Picture

DESCRIPTION = """\
Asks a trained run how well one picture and one sentence fit: the sentence competes with the same
sentence turned round (left for right) and with the same sentence about other things. Draws where
the model looked: its attention, and which parts it misses most when they are blurred, for the
sentence and for its strongest rival. A run of flava or albef also says what its matching head
thinks of each pair: that head reads picture and sentence together. Of a run of albef each word is
drawn by itself, where it looked and where that made the pair a match (Grad-CAM).

A run of unit compares no sentences: it was trained on tasks. Without a question it says which boxes
it finds, with one the likeliest answers and where it looked, in the picture and in the words.
"""

EXAMPLES = """\
examples
  minivl show runs/clip_tiny scene:0                   a new scene, and its own caption
  minivl show runs/clip_tiny twemoji:7 "a dog on the left"     an artist it has never seen
  minivl show runs/clip_tiny photo.jpg "a cat on the right" --out cat.png
  minivl show runs/flava_tiny twemoji:7                does it match, too?
  minivl show runs/albef_tiny scene:0 "a dog on the left"     where is each word?
  minivl show runs/unit_tiny photo.jpg                 what is where: boxes, names, colours
  minivl show runs/unit_tiny scene:0 "what is on the left"    the five likeliest answers
"""

OPPOSITES = (("left", "right"), ("top", "bottom"), ("above", "below"))


def main(arguments: list[str]) -> int:
    """Run the command."""
    parser = Parser("show", DESCRIPTION, EXAMPLES)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("image", help="a picture's file, or SPLIT:NUMBER (scene:0, twemoji:7)")
    parser.add_argument(
        "sentence",
        nargs="?",
        default="",
        help="or, for unit, a question; else the scene's own caption, or boxes",
    )
    parser.add_argument("--out", type=Path, help="the picture to write (a PNG in the run's show/)")
    chosen = parser.parse_args(arguments)
    trained = open_run(chosen.run)
    out = chosen.out or trained.run.folder / "show" / f"{file_name(chosen.image)}.png"
    if trained.name == "unit":
        from minivl.commands.show_unit import show_unit

        show_unit(trained, chosen.image, chosen.sentence, out)
        return 0
    source = source_of(trained)
    image, caption = picture_of(chosen.image, source)
    sentence = " ".join((chosen.sentence or caption).split())
    if not sentence:
        raise UserError(f"which sentence about {chosen.image}?", 'add one: "a dog on the left"')
    model, path = load_model(trained.stages[-1], trained.run, device())
    print(f"run       {path}")
    print(f"picture   {chosen.image}" + (f": {caption}" if caption else ""))
    sentences = rivals(sentence, known_names(source))
    shares = compare(model, source, image, sentences)
    matches = verdicts(model, source, image, sentences)
    print_answer(sentences, shares, matches)
    if matches and hasattr(model, "fusion_encoder"):
        figure = draw_words(model, source, image, sentence, matches[0])
    else:
        figure = draw_maps(model, source, image, sentences, shares)
    write(figure, out)
    print(f"\nwhere it looked   {out}")
    return 0


def source_of(trained: Trained) -> "SceneSource":
    """Where the run's scenes and word pieces come from. UserError if it cannot be asked."""
    from minivl.data.examples import SceneData, SceneSource
    from minivl.data.texts import TextData, TextSource

    data = getattr(trained.recipe, "data", None)
    if not isinstance(data, SceneData) or trained.name not in ASKABLE:
        raise UserError(
            f"show asks how well a picture and a sentence fit; a run of {trained.name} cannot say",
            f"use a run of {' or '.join(ASKABLE)}; what this one learned is drawn in "
            f"{trained.run.report}",
        )
    objectives = getattr(trained.recipe, "objectives", ("contrastive",))
    if not {"contrastive", "itc"} & set(objectives):
        lacking = "itc" if trained.name == "albef" else "contrastive"
        raise UserError(
            "show compares sentences by the contrastive objective, and this run had none",
            f"train one with --objectives {lacking} and others",
        )
    if hasattr(trained.recipe, "load_source"):  # pieces that captions, noise and questions need
        return trained.recipe.load_source().scenes
    texts = getattr(trained.recipe, "texts", None)
    if isinstance(texts, TextData):  # its word pieces are those of captions and of definitions
        return TextSource.load(texts, data).scenes
    return SceneSource.load(data)


def known_names(source: "SceneSource") -> list[str]:
    """The things that the model was taught to name."""
    return [drawings[0].name for drawings in source.world("train").sprites]


def rivals(sentence: str, names: Sequence[str]) -> list[str]:
    """The sentence first, then the same turned round, then the same about other things.

    A sentence without a known thing competes with the bare names.
    """
    from minivl.data.nouns import noun_phrase

    phrases = [noun_phrase(name) for name in names]
    spoken = [phrase for phrase in phrases if said(phrase, sentence)]
    spoken = [p for p in spoken if not any(p != other and p in other for other in spoken)]
    others = [
        sentence.replace(spoke, phrase)
        for spoke in spoken
        for phrase in phrases
        if phrase not in spoken
    ]
    return list(dict.fromkeys([sentence, turned_round(sentence), *(others or phrases)]))


def said(phrase: str, sentence: str) -> bool:
    """Whether the phrase stands in the sentence, as whole words."""
    return re.search(rf"\b{re.escape(phrase)}\b", sentence) is not None


def turned_round(sentence: str) -> str:
    """left <-> right, top <-> bottom, above <-> below."""
    swap = {a: b for pair in OPPOSITES for a, b in (pair, pair[::-1])}
    return re.sub(rf"\b({'|'.join(swap)})\b", lambda match: swap[match[0]], sentence)


def compare(
    model: Any, source: "SceneSource", image: "np.ndarray", sentences: list[str]
) -> list[float]:
    """The share of each sentence among all."""
    import torch

    from minivl.data.examples import to_tensor

    with torch.no_grad():
        return fits(model, source, sentences)(to_tensor(image[None]))[0].softmax(-1).tolist()


def fits(
    model: Any, source: "SceneSource", sentences: Sequence[str]
) -> "Callable[[Tensor], Tensor]":
    """How well pictures (n, 3, h, w) fit some sentences: a function to logits (n, sentences)."""
    from minivl.objectives import contrastive

    words = source.text.batch(list(sentences), max_length=source.data.max_length)
    texts = model.encode_text(words["input_ids"], words["attention_mask"])
    # ALBEF divides by a temperature where CLIP multiplies by the exponential of a scale.
    scale = model.logit_scale if hasattr(model, "logit_scale") else -model.temperature.log()

    def logits(pictures: "Tensor") -> "Tensor":
        return contrastive.similarity_logits(model.encode_image(pictures), texts, scale)

    return logits


def verdicts(
    model: Any, source: "SceneSource", image: "np.ndarray", sentences: list[str]
) -> list[float] | None:
    """How sure the matching head is that picture and sentence belong together, from 0 to 1.

    None for a model without one.
    """
    import torch

    from minivl.data.examples import to_tensor

    if "itm" not in getattr(model, "objectives", ()):
        return None
    words = source.text.batch(sentences, max_length=source.data.max_length)
    pixels = to_tensor(image[None]).expand(len(sentences), -1, -1, -1)
    with torch.no_grad():
        fused = model.encode_pair(pixels, words["input_ids"], words["attention_mask"])
        judge = getattr(model, "judge", model.itm_head)
        return judge(fused).softmax(dim=-1)[:, 1].tolist()


def print_answer(
    sentences: list[str], shares: list[float], matches: list[float] | None = None
) -> None:
    """The strongest sentences with their shares, and where the asked one stands.

    matches: what a matching head thinks of each, beside its share.
    """
    order = sorted(range(len(shares)), key=shares.__getitem__, reverse=True)
    rank = order.index(0) + 1
    print(f"sentence  {sentences[0]}")
    if matches:
        word = "belong" if matches[0] > 0.5 else "do not belong"
        print(f"matching  picture and sentence {word} together: {matches[0]:.1%} sure that they do")
    print(
        f"\nrank {rank} of {len(shares)}: yours and sentences of its form about the other things "
        f"(by chance each would get {1 / len(shares):.1%})"
    )
    if matches:
        print("   share   match")
    shown = order[:SHOWN]
    if matches:  # the hardest rival of a matching head: the same words in another order
        shown += [i for i in (1,) if sentences[1] == turned_round(sentences[0]) and i not in shown]
    for index in [*shown, *([0] if rank > SHOWN else [])]:
        mark = "  <- yours" if index == 0 else ""
        match = f"  {matches[index]:6.1%}" if matches else ""
        print(f"  {shares[index]:6.1%}{match}  {sentences[index]}{mark}")


def draw_maps(
    model: Any,
    source: "SceneSource",
    image: "np.ndarray",
    sentences: list[str],
    shares: list[float],
) -> "Picture":
    """Attention, and what the sentence and its strongest rival need of the picture."""
    import torch

    from minivl.data.examples import to_tensor
    from minivl.visualize.attention import attention_figure, pooled_map, rollout
    from minivl.visualize.occlusion import occlusion

    rival = max(range(1, len(shares)), key=shares.__getitem__)
    asked = [sentences[0], sentences[rival]]
    pixels = to_tensor(image[None])
    with torch.no_grad():
        _, attention = model.encode_image(pixels, return_attention=True)
        side = round((attention[0].shape[-1] - 1) ** 0.5)
        attended = pooled_map(rollout(attention), (side, side), model.image_pool)[0]
        needed = occlusion(fits(model, source, asked), pixels, (side, side))
    maps = {"attention, whatever is asked": attended}
    maps |= {f"needed for “{said}”": lost for said, lost in zip(asked, needed, strict=True)}
    return attention_figure(image, maps, sentence=sentences[0])


def draw_words(
    model: Any, source: "SceneSource", image: "np.ndarray", sentence: str, match: float
) -> "Picture":
    """Where each word of the sentence is."""
    from minivl.visualize.words_on_picture import words_figure, words_on_picture

    longest = source.data.max_length
    found = words_on_picture(model, source.text, image, sentence, max_length=longest)
    note = f"The model is {match:.1%} sure that picture and sentence belong together."
    return words_figure(found, note=note)
