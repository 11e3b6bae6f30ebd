# %% [markdown]
# # 01 · Two encoders
#
# A transformer reads a row of vectors. A picture is no row, and a sentence holds no vectors. This
# lesson makes a row of vectors of each, and reads it with the two encoders that CLIP, FLAVA and
# ALBEF are made of: ViT for pictures, BERT's kind for sentences. You write four functions of minivl:
#
# | | you write | the question that it answers |
# |---|---|---|
# | 1 | `patchify` | How does a picture become a row of vectors? |
# | 2 | `interpolate_positions` | What if a picture is larger than those in training? |
# | 3 | `word_pieces` | How does a word become numbers? |
# | 4 | `pad_batch` | How do sentences of different lengths share a table? |
#
# Then a classifier trains with them. Expect about an hour and a half. If the first cell fails, run
# `minivl doctor` in a terminal.

# %%
from collections.abc import Container, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minivl.course import check, hint, plugged, progress, size
from minivl.nn.vit import ViT, patch_grid, sincos_positions

# %%
SIZE = size()
IMAGE, PATCH, PATCHES = {
    "test": (32, 8, (8, 16)),
    "tiny": (48, 8, (4, 8, 16)),
    "base": (224, 16, (16, 32)),
}[SIZE]
MODEL = {
    "test": {"width": 32, "depth": 1, "heads": 2},
    "tiny": {"width": 96, "depth": 2, "heads": 4},
    "base": {"width": 768, "depth": 12, "heads": 12},
}[SIZE]
STEPS, BATCH, LR = {"test": (20, 16, 2e-3), "tiny": (450, 64, 2e-3), "base": (1000, 32, 2e-4)}[SIZE]
DEVICE = "cuda" if SIZE == "base" and torch.cuda.is_available() else "cpu"
TAKES = {
    "test": "seconds; nothing need be learned",
    "tiny": "about two minutes on two CPU cores, 2 GB of memory",
    "base": "an estimated ten minutes on a GPU with 16 GB of memory",
}
print(f"size {SIZE}: {TAKES[SIZE]}")

# %% [markdown]
# ## A picture becomes a row of vectors
#
# A drawing on a photograph, and what ViT makes of it:

# %%
from minivl.data.examples import SceneData, SceneSource, to_tensor
from minivl.visualize.patches import patch_sheet

source = SceneSource.load(SceneData(image_size=IMAGE, objects=(1, 1)))
examples = source.examples("train", seed=0)
picture = examples[36]["image"]
patch_sheet(picture, PATCH)

# %% [markdown]
# Cut like a sheet of stamps, the stamps laid in a row, each one a vector. Only the neighbourhood is
# lost: what lay below is now several tokens away.

# %% [markdown]
# In letters (Dosovitskiy et al. 2020, section 3.1): a picture $x$ has $c$ colours and
# $h \times w$ pixels, a patch has $p \times p$.
#
# $$x \in \mathbb{R}^{c \times h \times w} \;\longrightarrow\;
# x_p \in \mathbb{R}^{n \times c p^2}, \qquad n = \frac{h}{p} \cdot \frac{w}{p}$$
#
# Row $i$ of $x_p$ is patch $i$. Its $c p^2$ numbers are ordered by colour, then row, then column. By
# hand, with one colour, 2 rows of 4 pixels and $p = 2$:

# %%
small = torch.arange(1, 9).reshape(1, 1, 2, 4)
left, right = small[..., :2], small[..., 2:]
print(small[0, 0].tolist(), "->", [left.flatten().tolist(), right.flatten().tolist()])

# %% [markdown]
# Now for any picture. `patch_grid(image, patch_size)` is given: rows and columns of patches, or an
# error that names the sizes. Stuck? Run `hint(patchify)`.

# %% exercise minivl.nn.vit.patchify

# %%
image = to_tensor(picture[None])
rows = patchify(image, PATCH)
print(tuple(image.shape), "->", tuple(rows.shape))
weight = torch.randn(MODEL["width"], 3, PATCH, PATCH)
convolved = F.conv2d(image, weight, stride=PATCH).flatten(2).mT
torch.testing.assert_close(rows @ weight.flatten(1).T, convolved, rtol=1e-3, atol=1e-3)

# %% [markdown]
# A linear layer turns each row into a token. The last lines show: that is a convolution whose step
# is its width. Convolutions store colour, row, column: hence the order inside a patch.
#
# ## A class token, and positions
#
# Equation 1 of the paper, the input of the first block:
#
# $$z_0 = [\,x_\text{class};\; x_p^1 E;\; x_p^2 E;\; \dots;\; x_p^n E\,] + E_\text{pos}$$
#
# $x_p^i$ ($c p^2$ numbers) is patch $i$, $E$ ($c p^2 \times d$) the linear layer, $d$ the width.
# $x_\text{class}$ ($d$ numbers) and $E_\text{pos}$ ($n + 1$ rows of $d$ numbers) are learned.

# %% [markdown]
# The class token belongs to no patch. Its last state stands for the whole picture. **Guess first:**
# would it notice shuffled patches, if there were no $E_\text{pos}$?

# %%
import numpy as np

from minivl.visualize.scenes import contact_sheet

order = torch.randperm(rows.shape[1], generator=torch.Generator().manual_seed(0))
shuffled = F.fold(rows[:, order].mT, image.shape[-2:], PATCH, stride=PATCH)


def pixels(image: Tensor) -> np.ndarray:
    """(3, h, w) in [-1, 1] -> (h, w, 3) uint8."""
    return ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


contact_sheet([picture, pixels(shuffled[0])], ["as it is", "shuffled"])

# %%
torch.manual_seed(0)
vit = ViT(image_size=IMAGE, patch_size=PATCH, positions="sincos", **MODEL).double()


def difference(model: ViT) -> float:
    """How far the class token's last state moves when the patches are shuffled."""
    return (model(image.double()) - model(shuffled.double()))[:, 0].abs().max().item()


with torch.no_grad(), plugged(patchify):
    print(f"with positions: {difference(vit):.0e}")
    vit.pos_embed.zero_()
    print(f"without: {difference(vit):.0e}")
    assert difference(vit) < 1e-12

# %% [markdown]
# <details><summary>Why?</summary>
#
# Attention is a weighted sum over tokens, the MLP works on each token alone, and so do the norms. A
# sum does not depend on the order of what is added. If the patches change places, their states
# change places with them, and the class token, which sums over all of them, stays what it was. The
# rest, near 1e-15, is rounding: numbers were added in another order. The experiment above shows it.
# </details>
#
# So all that a ViT knows of the plane is in $E_\text{pos}$. The paper starts it as noise. Minutes are
# too short to learn it from there: this lesson starts it from sines and cosines of row and column.

# %%
from minivl.visualize.explorer import patch_explorer

grid = patch_grid(image, PATCH)
positions = sincos_positions(grid, MODEL["width"], magnitude=1.0, base=10.0)
explorer = patch_explorer(picture, PATCH, positions)
display(explorer.still, explorer)

# %% [markdown]
# Click a patch, or use the slider. Which two tokens are neighbours in the row but far apart in the
# picture? What does the map say about them?

# %% [markdown]
# ## A larger picture
#
# ALBEF starts from weights learned at 224 px, 14 × 14 patches, and trains at 256 px, 16 × 16. DINO's
# small crops have 6 × 6. Patches, linear layer and blocks take any number of tokens. Only
# $E_\text{pos}$ has a fixed number of rows.

# %% [markdown]
# The remedy (section 3.2): take one of the $d$ columns of $E_\text{pos}$ without the class token's
# number. Its $g^2$ numbers, for $g$ rows and columns of patches, are a picture of $g \times g$
# pixels. Resize that picture. `F.interpolate` does it for all $d$ at once, as channels.

# %%
ramp = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
for mode in ("bilinear", "bicubic"):
    resized = F.interpolate(ramp.reshape(1, 1, 2, 2), size=(2, 4), mode=mode)
    print(f"{mode:9}", [round(x, 3) for x in resized.flatten().tolist()])

# %% [markdown]
# Bicubic weighs 4 × 4 neighbours, some negatively, so it can leave the range. Published weights were
# tuned with it. Leave `offset` alone: it is for DINO's weights.

# %% exercise minivl.nn.vit.interpolate_positions

# %%
from minivl.visualize.positions import position_maps

larger = (grid[0] + 2, grid[1] + 2)
stretched = interpolate_positions(positions, larger)
position_maps({"as it is": (positions, grid), "stretched": (stretched, larger)})

# %% [markdown]
# Each small map belongs to the place where it lies. After stretching, every place still resembles
# its neighbours most: the plane has kept its shape.
#
# <details><summary>What is <code>offset</code> for?</summary>
#
# DINO's code asks for a scale factor instead of a size, and adds 0.1 to the grid first, lest rounding
# lose a row. This also moves the points at which it reads, so the positions come out different.
# Weights trained with one form want the same form again. Try it: call `minivl.nn.vit.interpolate_positions` with both offsets.
# </details>

# %% [markdown]
# ## A sentence becomes a row of numbers
#
# BERT's vocabulary holds 30,522 pieces: words, parts of words, letters, signs. A piece inside a word
# starts with `##`. Its id is its place in the vocabulary.

# %%
from minivl.data.text import WordPiece, words

text = WordPiece.load()
for sentence in ("A dog on the LEFT!", "an astronaut, unicycling"):
    print(f"{sentence!r}: {list(words(sentence))} -> {text.tokens(sentence)}")

# %% [markdown]
# A word is cut from the left, and each cut takes the **longest** piece that the vocabulary knows.
# By hand, with `p`, `play`, `##er`, `##ers` and `##s`: "players" starts with `play` (longer than
# `p`), the rest is `##ers` (longer than `##er`). If any rest has no piece, BERT calls the **whole**
# word `[UNK]`, the good beginning too.

# %% exercise minivl.data.text.word_pieces

# %%
vocab = set(text.vocab)
for word in ("dog", "unicycling", "hoverboarding", "dog☃"):
    print(f"{word:14}", word_pieces(word, vocab))

# %% [markdown]
# **Why pieces**, and not letters or whole words? Let us count. A thousand captions about 48 things
# are known; then come phrases about everything that was drawn.

# %%
from minivl.data.nouns import everyday_name, noun_phrase

known_words = {word for i in range(1000) for word in words(examples.caption(i))}
letters = {letter for word in known_words for letter in word}
phrases = [noun_phrase(everyday_name(concept.name)) for concept in source.pack.concepts]
new_words = [word for phrase in phrases for word in words(phrase)]
ways = {
    "letters": (letters, lambda word: [c if c in letters else "[UNK]" for c in f"{word} "]),
    "words": (known_words, lambda word: [word if word in known_words else "[UNK]"]),
    "pieces": (vocab, lambda word: word_pieces(word, vocab)),
}
letters.add(" ")
for name, (entries, cut) in ways.items():
    tokens = [token for word in new_words for token in cut(word)]
    each, unknown = len(tokens) / len(phrases), tokens.count("[UNK]") / len(tokens)
    print(f"{name:8}{len(entries):7,} entries {each:6.1f} tokens a phrase {unknown:7.1%} unknown")

# %% [markdown]
# <details><summary>What the table says</summary>
#
# Letters know nearly every word, but their rows are several times as long, and attention costs the
# square of the length. Whole words make the shortest rows, but a word that was not in training is
# `[UNK]`, and two unknown words look the same. Pieces are nearly as short as words and leave next to
# nothing unknown: frequent words are one piece, rare ones are spelled. The price is a large table:
# 30,522 rows of the embedding are 23 million numbers at width 768, a fifth of BERT-base.
# </details>
#
# ## A batch of sentences
#
# A tensor is a rectangle. Short rows are filled up behind with the id of `[PAD]`, and a mask says
# which tokens are real. `[[5, 6, 7], [8]]` becomes `[[5, 6, 7], [8, 0, 0]]` with the mask
# `[[1, 1, 1], [1, 0, 0]]`, stored as True and False.

# %% exercise minivl.data.text.pad_batch

# %%
from minivl.visualize.tokens import token_explorer

sentences = [
    examples.caption(36),
    "a helicopter over snowcapped mountains",
    "an astronaut unicycling in space",
    "a dog",
]
with plugged(word_pieces, pad_batch):
    tokens = token_explorer(sentences, text)
display(tokens.still, tokens)

# %% [markdown]
# Click through the tokens. `[CLS]` is BERT's class token, `[SEP]` ends a sentence. Put your own
# sentences into the list and run the cell again.

# %% [markdown]
# BERT adds three embeddings for each token $t$, and norms the sum:
#
# $$h_0[t] = \text{LN}\big(E_\text{word}[\text{id}_t] + E_\text{pos}[t] + E_\text{seg}[s_t]\big)$$
#
# $E_\text{word}$ has a row of $d$ numbers for each piece, $E_\text{pos}$ for each of 512 places,
# $E_\text{seg}$ for each segment. $s_t$ is 0 in a first sentence and 1 in a second, as in
# `[CLS] A [SEP] B [SEP]`. LN is a layer norm. **Guess first:** does padding change what BERT makes of
# "a dog"?

# %%
from minivl.nn.bert import Bert

torch.manual_seed(0)
bert = Bert(vocab_size=len(text), max_length=64, **MODEL).eval()
alone, batch = text.batch(sentences[-1:]), text.batch(sentences)
with torch.no_grad():
    expected = bert(**alone)[0, 0]
    masked = (bert(**batch)[-1, 0] - expected).abs().max()
    unmasked = (bert(batch["input_ids"])[-1, 0] - expected).abs().max()
print(f"[CLS] moves by {masked:.0e} with the mask, by {unmasked:.0e} without")

# %% [markdown]
# With the mask at most rounding. Without it padding is read like words, and a sentence means
# something else in each batch.

# %% [markdown]
# ## Two orders of the same block
#
# $f$ is attention or the MLP, $x$ the tokens ($t$ rows of $d$ numbers), LN a layer norm:
#
# | | formula | who |
# |---|---|---|
# | post-norm | $x \leftarrow \text{LN}(x + f(x))$ | BERT; ALBEF's text and fusion layers |
# | pre-norm | $x \leftarrow x + f(\text{LN}(x))$ | ViT, DINO, CLIP; both encoders of FLAVA |
#
# Where does the difference show? Follow the size of $x$ through twelve untrained blocks.

# %%
from minivl.nn.transformer import Transformer
from minivl.visualize.depth import stream_sizes


def sizes(norm: str) -> list[float]:
    """Root mean square of the states before and after each of twelve blocks, and after a norm."""
    torch.manual_seed(0)
    states = [F.layer_norm(torch.randn(8, 32, 96), (96,))]
    for block in Transformer(96, 12, 4, norm=norm).blocks:
        states.append(block(states[-1]))
    states.append(F.layer_norm(states[-1], (96,)))
    return [x.square().mean().sqrt().item() for x in states]


with torch.no_grad():
    figure = stream_sizes({"pre-norm": sizes("pre"), "post-norm": sizes("post")})
figure

# %% [markdown]
# Pre-norm leaves the way from the first block to the last free of norms. Gradients pass it
# unchanged, and training needs no careful warm-up (Xiong et al. 2020). But each block adds, so $x$
# grows. ViT therefore norms once at the end (equation 4). Post-norm has just done so.

# %% [markdown]
# ## A classifier that trains with your functions
#
# Twelve things, one in each picture. "validation" has known artists on new photographs, "twemoji" an
# artist whom training never shows. The model is a ViT and one linear layer on the class token's last
# state. The loss is cross-entropy: minus the logarithm of the probability that the true name gets.

# %%
import itertools
from dataclasses import replace

from minivl.data.scenes import scene

worlds = {
    split: replace(source.world(split), sprites=source.world(split).sprites[::4])
    for split in ("train", "validation", "twemoji")
}
names = [drawings[0].name for drawings in worlds["train"].sprites]
print(len(names), "things:", ", ".join(names))


def batches(split: str, seed: int, count: int):
    """Endless batches: image (count, 3, h, w) in [-1, 1] and label (count) int64."""
    for start in itertools.count(0, count):
        scenes = [scene(worlds[split], seed, i) for i in range(start, start + count)]
        drawn = np.stack([source.renderer.image(one) for one in scenes])
        labels = [names.index(one.things[0].name) for one in scenes]
        yield {"image": to_tensor(drawn), "label": torch.tensor(labels)}


# %%
class Namer(nn.Module):
    """Which of some things is in the picture?"""

    def __init__(self, classes: int, **vit):
        super().__init__()
        self.vit = ViT(**vit, positions="sincos")
        self.head = nn.Linear(self.vit.width, classes)

    def logits(self, image: Tensor) -> Tensor:
        """(b, 3, h, w) -> (b, classes)."""
        return self.head(self.vit(image)[:, 0])

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, by name."""
        return {"naming": F.cross_entropy(self.logits(batch["image"]), batch["label"])}


# %% [markdown]
# With `plugged`, minivl calls your functions wherever it called its own.

# %%
import math

from minivl.course.train import fit
from minivl.training.optim import learning_rate
from minivl.training.recipe import Training
from minivl.visualize.curves import loss_curves

torch.manual_seed(0)
namer = Namer(len(names), image_size=IMAGE, patch_size=PATCH, **MODEL).to(DEVICE)
with plugged(patchify, interpolate_positions):
    losses = fit(namer, batches("train", 0, BATCH), STEPS, lr=LR)
plan = Training(steps=STEPS, lr=LR, warmup_steps=20)
lines = [{"step": i + 1, "naming": x, "lr": learning_rate(i, plan)} for i, x in enumerate(losses)]
loss_curves(lines, levels={"naming": (math.log(len(names)), f"guessing: ln {len(names)}")})

# %% [markdown]
# The curve starts where all names are equally probable, at the logarithm of their number. A first
# loss far above that is the first sign of a mistake.
#
# ## Does it work?
#
# Each number stands beside what guessing reaches and a 95 % interval.

# %%
from minivl.evaluation.zeroshot import accuracy

COUNT = {"test": 48, "tiny": 480, "base": 480}[SIZE]
tests = {split: next(batches(split, 1, COUNT)) for split in ("validation", "twemoji")}
with torch.no_grad(), plugged(patchify, interpolate_positions):
    logits = {split: namer.logits(test["image"].to(DEVICE)) for split, test in tests.items()}
for split, test in tests.items():
    found = accuracy(logits[split], test["label"])
    print(f"{split:11}{found.value:6.1%} ({found.low:.0%} to {found.high:.0%}), "
          f"chance {found.chance:.0%}")  # fmt: skip
    assert SIZE == "test" or found.low > 2 * found.chance

# %%
from minivl.visualize.named import named_pictures

test = tests["twemoji"]
guesses = [names[i] for i in logits["twemoji"].argmax(1)]
truths = [names[i] for i in test["label"]]
named_pictures(np.stack([pixels(one) for one in test["image"]]), guesses, truths)

# %% [markdown]
# An unknown artist: far better than guessing. Now your second function: the same weights read
# larger pictures, without one step of training.

# %%
test, sides = tests["validation"], [IMAGE, IMAGE * 4 // 3 // PATCH * PATCH]
with torch.no_grad(), plugged(patchify, interpolate_positions):
    for side in sides:
        resized = F.interpolate(test["image"], size=(side, side), mode="bicubic", antialias=True)
        found = accuracy(namer.logits(resized.to(DEVICE)), test["label"])
        print(f"{side} px, {(side // PATCH) ** 2} patches: {found.value:.1%}")

# %% [markdown]
# ## What does the patch size trade?
#
# Classifiers equal but for the patch, equally many steps. **Guess first:** which one names best?

# %% tags=["measures-time"]
from time import perf_counter

from minivl.visualize.trade import Measured, trade_off

SHORT, FEW = {"test": (5, 16), "tiny": (150, 32), "base": (300, 32)}[SIZE]
points = []
for p in PATCHES:
    torch.manual_seed(0)
    model = Namer(len(names), image_size=IMAGE, patch_size=p, **MODEL).to(DEVICE)
    with plugged(patchify):
        fit(model, batches("train", 0, FEW), SHORT, lr=LR)
        seconds = []
        for _ in range(4):  # the fastest counts: the first pass warms up
            started = perf_counter()
            with torch.no_grad():
                logits = model.logits(test["image"].to(DEVICE)).cpu()
            seconds.append(perf_counter() - started)
    found = accuracy(logits, test["label"])
    label = f"patch {p}: {1 + (IMAGE // p) ** 2} tokens"
    ms = 1000 * min(seconds) / COUNT
    points.append(Measured(label, ms, found.value, found.low, found.high))
trade_off(points, chance=1 / len(names), cost="milliseconds a picture, forward")

# %% [markdown]
# ## Paper, reference code, minivl
#
# Where sources differ or say nothing, minivl names its choice:
#
# | topic | papers | reference code | minivl |
# |---|---|---|---|
# | resizing positions | "2D interpolation" | to a size; DINO: by a factor, 0.1 added | a size; `offset=0.1` |
# | kind of resizing | – | bicubic, `align_corners=False` | the same |
# | unknown letter in a word | – | the whole word is `[UNK]` | the same |
# | sentence too long | 512 places | pieces cut before `[SEP]`; ALBEF's retrieval: not cut | `max_length` cuts; without it an error |
# | GELU | GELU | exact; CLIP's weights: $x\,\sigma(1.702\,x)$ | exact; `activation="quick_gelu"` |
# | epsilon of layer norms | – | ViT, DINO, ALBEF: 1e-6; BERT, FLAVA: 1e-12 | 1e-6 in ViT, 1e-12 in BERT; `eps` |
# | order in a text encoder | BERT: post-norm | FLAVA: pre-norm | `norm="post"` or `"pre"` |

# %% [markdown]
# ## What you have
#
# **Built:** the way from pixels and letters to tokens, in four functions. **Seen:** that a ViT
# without positions cannot tell a picture from its shreds; that padding needs a mask; that pre-norm
# needs a norm at the end. **Measured:** naming on known and unknown artists, tokens for letters,
# words and pieces, and the price of a patch.

# %% [markdown]
# **Two questions.**
#
# <details><summary>1. What does the patch size trade?</summary>
#
# Halving $p$ makes four times as many tokens, and attention weights grow with $1/p^4$. In return a
# token is closer to a detail: what is smaller than a patch must be read by the linear layer alone.
# The figure above is the experiment. So short a training favours few tokens: with 145 of them the
# model has not yet found out whom to look at. Set `SHORT, FEW = 600, 64` and run the cell again (some
# minutes): which order do you find now, and at which price?
# </details>
#
# <details><summary>2. The classifier reads the class token. Would the mean of the patches do as well?</summary>
#
# The class token can look at the patches of the thing and leave out the photograph; the mean weighs
# all patches alike. The experiment: in `Namer.logits` write `[:, 1:].mean(1)` in place of `[:, 0]`,
# run the cells down to "Does it work?", and compare, with two seeds each. It depends on the task:
# minivl's CLIP, whose sentences name all that is there, learns sooner from the mean and takes it at
# `tiny`, and the class token, as the paper, at `base`.
# </details>
#
# **Stretch goal.** A few convolutions in place of the linear layer see edges before the first block
# (Xiao et al. 2021). Give `ViT` the argument `stem="conv"` inside `Namer`, train equally many steps,
# and compare on both tests. How many mistakes are left? What has your `patchify` still to do with it?

# %% [markdown]
# ## Full size
#
# The same two classes with the papers' numbers, on the device `meta`, which knows shapes without
# storing a number. The papers say 86 and 110 million; BERT's count has one more square layer on
# `[CLS]`, which minivl adds where a task needs it.

# %%
with torch.device("meta"):
    vit = ViT(image_size=224, patch_size=16, width=768, depth=12, heads=12)
    bert = Bert(vocab_size=30_522, width=768, depth=12, heads=12)
for name, model in (("ViT-B/16", vit), ("BERT-base", bert)):
    print(f"{name}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters")

# %%
if torch.cuda.is_available():
    model = vit.to_empty(device="cuda").bfloat16().eval()
    pictures = torch.zeros(64, 3, 224, 224, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        for attempt in ("warm-up", "timed"):
            torch.cuda.synchronize()
            started = perf_counter()
            model(pictures)
            torch.cuda.synchronize()
            print(f"{attempt}: {1000 * (perf_counter() - started) / 64:.2f} ms a picture")
else:
    print("no GPU here, so no forward pass is timed")

# %%
progress()

# %% [markdown]
# In the terminal both encoders train together, as CLIP:
#
# ```
# minivl train clip --size tiny --stem patch --pool cls   # about 3 minutes on two CPU cores, 1 GB
# minivl train clip --size base --dry-run                 # ViT-B/16: parameters, work and memory
# ```
