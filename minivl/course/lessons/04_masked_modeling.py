# %% [markdown]
# # 04 · Masked modeling
#
# **The question: "a cup of hot ____ with milk". You know the word. What did you have to know?**
#
# That cups hold drinks, that milk goes into tea, that a noun is due. A network that fills holes well
# must learn such things, and nobody has to label anything. You write the four parts of this game,
# then play it with pictures and with sentences. Four blanks, about an hour and a half.

# %%
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minivl.course import check, hint, plugged, progress, size
from minivl.objectives.masking import IGNORE, TRIES, fill_up

# %% [markdown]
# ## 1. One game
#
# Both a sentence and a picture are rows of tokens $x_1,\dots,x_n$. Choose places $M$, hide them,
# call what is left $\tilde x$. Then name what was there:
#
# $$L=-\frac1{|M|}\sum_{i\in M}\ln p(x_i\mid\tilde x)$$
#
# | | hidden | to be named | played by |
# |---|---|---|---|
# | MLM, masked *language* modeling | words of a text | the word, of 30,522 | BERT, ALBEF, FLAVA |
# | MIM, masked *image* modeling | patches of a picture | its code, of 8,192 | BEiT, FLAVA |
# | MMM, masked *multimodal* modeling | both, in a pair of them | both | FLAVA |

# %% [markdown]
# ## 2. The words of a picture
#
# A word has a number. What is the number of a patch? Lesson 03 made a *tokenizer*: it names one
# code for each patch, and draws pictures from codes. There you also saw why we classify codes
# rather than reconstruct pixels. Here it is frozen: it knows the answers.

# %%
from dataclasses import replace

from minivl.course.train import fit
from minivl.data.examples import SceneSource
from minivl.data.stream import Stream, fetch, positions
from minivl.recipes.mim import MimRecipe
from minivl.training.device import choose_device

device, TEST = choose_device(), size() == "test"
print(f"size {size()}" + (": a rehearsal, nothing is learned" if TEST else ""))
recipe = MimRecipe.at_size("test" if TEST else "tiny")
source = SceneSource.load(recipe.data)


def batches(stream, steps):
    """The first batches of a stream."""
    return (fetch(stream, positions(k, stream.batch_size), 0).batch for k in range(steps))


# %%
from minivl.models.mim import Mim
from minivl.nn.vit import ViT
from minivl.commands.shipped import trained

tokenizer, which = trained("dvae")  # your own run of `minivl train dvae`, if there is one
torch.manual_seed(0)
model = Mim(ViT(image_size=recipe.data.image_size, **vars(recipe.image)), tokenizer).to(device)
print(f"{which}: one of {tokenizer.vocab_size} codes for each of {recipe.grid} patches")

# %% [markdown]
# ## 3. Which patches to hide
#
# FLAVA hides about 40 %. **Predict**: which holes are easier to fill, scattered ones or large ones?
# And what is the laziest way to fill them?

# %%
from minivl.data.holes import HoledPictures
from minivl.evaluation.masked import EVALUATION_SEED, batches_of, masked_accuracy
from minivl.objectives import masking

COUNT, (rows, columns) = 32 if TEST else 256, recipe.grid
unseen = HoledPictures(source, "validation", recipe.grid, recipe.masks, EVALUATION_SEED)
new = [one | {"visual_tokens": model.visual_tokens(one)}
       for one in batches_of(unseen, COUNT, device)]  # fmt: skip


def hidden_anew(share, scattered):
    """The same pictures with other holes."""
    draw, nothing = torch.Generator().manual_seed(7), torch.zeros(rows, columns, dtype=torch.bool)
    count = round(share * rows * columns)
    least = min(recipe.masks.min_block, count)
    for batch in new:
        drawn = [
            fill_up(nothing, count, draw)
            if scattered
            else masking.blockwise_mask(rows, columns, count, draw, least)
            for _ in batch["image"]
        ]
        yield batch | {"patches_masked": torch.stack(drawn).to(device)}


# %%
from minivl.recipes.masked_figures import fill, mim_figures, to_pictures
from minivl.visualize.holes import holed
from minivl.visualize.scenes import contact_sheet

ways = {"scattered": list(hidden_anew(0.4, True)), "in blocks": list(hidden_anew(0.4, False))}
seen = [holed(to_pictures(one[0]["image"])[k], one[0]["patches_masked"][k].cpu().numpy())
        for k in (0, 1) for one in ways.values()]  # fmt: skip
contact_sheet(seen, 2 * list(ways))

# %% [markdown]
# As many in each. The laziest way is to copy the code of the nearest patch that is seen. How often
# is that right?

# %%
from minivl.evaluation.mim import by_nearest, copied

easy, hard = (by_nearest(one, 0.0, COUNT).value for one in ways.values())
print(f"copying names {easy:.0%} of scattered holes, {hard:.0%} of holes in blocks")
assert TEST or easy > hard

# %% [markdown]
# Beside a scattered hole something is seen, and pictures change slowly: a network that only copies
# would get further. Inside a block it must *know*.
#
# Your rule, BEiT's: draw an area $a$ between `min_block` and what is left to hide, and an aspect
# ratio $\rho$ between 0.3 and 1/0.3, its *logarithm* evenly. The sides are
#
# $$h=\sqrt{a\rho},\qquad w=\sqrt{a/\rho}$$
#
# Round, place, and take the block if it hides something new and not too much. When blocks no longer
# fit, `fill_up` hides single cells.

# %% exercise minivl.objectives.masking.blockwise_mask

# %% [markdown]
# **Predict**: which patch is hidden most often, which hardly ever? Count over many masks.

# %%
from minivl.visualize.numbers import Grid, number_grids

draws = torch.Generator().manual_seed(0)
many = torch.stack([blockwise_mask(14, 14, 75, draws) for _ in range(400)])
often = Grid("75 of 196 hidden: how often each patch is, in %", 100 * many.double().mean(dim=0))
number_grids([often], decimals=0, title="How often each patch is hidden")

# %% [markdown]
# More of the places where a block fits cover the middle than a corner, and in the middle stand the
# things. (`exact=False` is BEiT's own code: a third of its masks hide fewer than 75.)
#
# ## 4. What stands in the hole
#
# MAE leaves hidden patches out. BEiT and FLAVA keep the place and put one learned vector there, the
# *mask token*. Positions are added later, so each hole knows where it is.

# %% exercise minivl.objectives.masking.replace_masked

# %% [markdown]
# Does anything leak? Repaint what is hidden, then what is seen, and compare the transformer's
# states. **Predict** both numbers.


# %%
def states(image, hide):
    """What the transformer makes of a picture whose hidden patches are replaced."""
    swap = lambda x: replace_masked(x, model.mask_token, hide.flatten(1))  # noqa: E731
    return model.image_encoder(image, edit=swap)


model.eval()
image, hide, side = new[0]["image"][:4], new[0]["patches_masked"][:4], recipe.image.patch_size
cells = hide.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2).unsqueeze(1)
with torch.no_grad():
    for name, repainted in (("hidden", image * ~cells), ("seen", image * cells)):
        change = (states(image, hide) - states(repainted, hide)).abs().max()
        print(f"{name} patches painted grey: the states change by {float(change):.3f}")

# %% [markdown]
# ## 5. Which words to hide
#
# BERT selects 15 % of the words, never `[CLS]`, `[SEP]` or padding: nothing to guess there. Our
# texts are WordNet's definitions and captions of scenes.

# %%
from minivl.data.text import WordPiece
from minivl.data.texts import MaskedTexts, TextSource
from minivl.recipes.mlm import MlmRecipe
from minivl.visualize.tokens import token_sheet

reading = MlmRecipe.at_size("test" if TEST else "tiny")
texts = TextSource.load(reading.data, reading.scenes)
text, captions, held_out = texts.text, texts.captions("train"), texts.glosses("held out")
print(f"{len(texts.train):,} definitions to read, {len(held_out):,} held out")
short = [text.decode(row) for row in sorted(texts.held_out, key=len)[len(held_out) // 4 :][:2]]
short.append(text.decode(captions.ids(0, 3)))
ids, real = text.batch(short).values()
token_sheet(
    short, [[text.vocab[i] for i in row] for row in ids.tolist()], ids.numpy(), real.numpy()
)

# %% [markdown]
# And the selected ones?
#
# - 80 % become `[MASK]`,
# - 10 % become *another* word, drawn at random,
# - 10 % stay *as they are*.
#
# All of them are asked for: their label is the original word. Everywhere else the label is −100,
# "not asked". Why not always `[MASK]`? Keep your guess until section 9.

# %% exercise minivl.objectives.masking.mask_tokens

# %%
# The draws come from outside: equal draws, equal holes, anywhere. Here 30 % are selected.
row = ids[2:]
special = torch.isin(row, torch.tensor([text.cls_id, text.sep_id, text.pad_id]))
for seed in range(3):
    draws = torch.Generator().manual_seed(seed)
    select, action = torch.rand(2, *row.shape, generator=draws)
    others = torch.randint(len(text), row.shape, generator=draws)
    seen, _ = mask_tokens(row, special, select, action, others, text.mask_id, 0.3)
    print(" ".join(text.vocab[i] for i in seen[0].tolist()))

# %% [markdown]
# One trap is left. "unicycling" is five pieces, `un ##ic ##y ##cl ##ing`. Hide `##cl` alone, and the
# others give it away: spelling, not meaning. *Whole-word masking* lets all pieces of a word
# share the first one's draw. FLAVA does it for pairs. **Predict** the second line.

# %%
pieces = ["an", "astronaut", *WordPiece.load().tokens("unicycling")]
select = torch.tensor([[0.9, 0.6, 0.1, 0.7, 0.3, 0.05, 0.8]])
inside = torch.tensor([[piece.startswith("##") for piece in pieces]])
for draws in (select, masking.whole_words(select, inside)):
    print([piece if u >= 0.15 else "[MASK]" for piece, u in zip(pieces, draws[0], strict=True)])

# %% [markdown]
# ## 6. What is scored
#
# Only what was selected. A seen word is easily copied, which would hide whether anything is
# learned. And scores are dear: one for each word of the vocabulary. **Predict** their memory for 32
# texts of 512 tokens in BERT's size.

# %%
places, vocabulary, width, encoder = 32 * 512, 30_522, 768, 85_000_000
for name, scored in (("all places", places), ("the selected 15 %", 0.15 * places)):
    gigabytes = scored * vocabulary * 4 / 1e9
    work = 2 * scored * width * vocabulary / (2 * places * encoder)
    print(f"{name:18} {gigabytes:.1f} GB of scores, work of the head {work:.0%} of the encoder's")

# %% [markdown]
# Their gradients take as much again. So models pick the selected rows first, and only these pass
# through the head.
#
# The mean over $M$ divides by $|M|$. How often is $M$ empty, and what then?

# %%
print(f"six words, none selected: {0.85**6:.0%}")
nobody = torch.full((1, 4), IGNORE)
print("the loss then:", F.cross_entropy(torch.zeros(4, 10), nobody[0]).item())

# %% [markdown]
# Not a number; a step later no weight is one. Yours says 0, with a graph. On paper: scores
# $(\ln3,0)$ mean ¾ and ¼. Labels are 0, not asked, 0:

# %%
scores = torch.tensor([[[3.0, 1.0], [1.0, 1.0], [1.0, 3.0]]]).log()
float(-torch.tensor([3 / 4, 1 / 4]).log().mean())

# %% exercise minivl.objectives.masked.masked_cross_entropy

# %%
print(float(masked_cross_entropy(scores, torch.tensor([[0, IGNORE, 0]]))))
print(float(masked_cross_entropy(torch.zeros(1, 4, 10), nobody)))

# %% [markdown]
# ## 7. Fill the holes of pictures
#
# A small vision transformer, a mask token, a head. **Predict** the first loss from the number of
# codes. Then train, with your functions inside.

# %%
steps, size_of_batch = (10, 8) if TEST else (400, 32)
stream = replace(recipe.build_stream(source, seed=0), batch_size=size_of_batch)
how = {"lr": 3e-3, "optimizer": "muon", "warmup": steps // 10}
with plugged(blockwise_mask, replace_masked, masked_cross_entropy):
    losses = fit(model, batches(stream, steps), steps, **how)
print(
    f"{math.log(model.tokenizer.vocab_size):.2f} is ln k; losses {losses[0]:.2f} -> {losses[-1]:.2f}"
)

# %% [markdown]
# All three kinds below stand on photographs that training never saw. In the middle one a stranger
# drew the things; the last has none.

# %%
from minivl.evaluation.mim import evaluate_mim
from minivl.visualize.baselines import baselines, rows_of

with torch.no_grad():
    found = evaluate_mim(source, model, device, recipe.masks, recipe.grid, COUNT)
kinds = {"validation": "scenes", "twemoji": "scenes by a new artist", "photographs": "no things"}
baselines("Patches named rightly", rows_of(found, "mim", kinds, by_nearest="copying the nearest"))

# %% [markdown]
# A number says little. What does the model expect behind the holes? The decoder draws its codes.

# %%
with torch.no_grad():
    figures = mim_figures(model, source, recipe.masks, recipe.grid, device)
figures["holes"]

# %% [markdown]
# Compare the third and the fourth column: horizons, the rims of things, their inside. Where do both
# fail?
#
# ## 8. Fill the holes of sentences
#
# The same again, with words. We hide 30 %: more questions from each text that is read. It takes
# about a minute on two cores.

# %%
from minivl.data.mixture import Mixture

steps = 10 if TEST else 800
table = Mixture(reading.build_streams(texts, seed=0), 0, steps)
mixed = ((one, positions(k, one.batch_size)) for one, k in map(table.at, range(steps)))
torch.manual_seed(2)
reader = reading.build_model(text).to(device)
how = {"lr": 3e-3, "optimizer": "muon", "warmup": steps // 12}
with plugged(mask_tokens, masked_cross_entropy):
    losses = fit(reader, (fetch(*one, 0).batch for one in mixed), steps, **how)
print(f"ln {len(text):,} = {math.log(len(text)):.2f}; the first loss {losses[0]:.2f}")

# %% [markdown]
# A rival: a *table* of all definitions read names the word seen most often between the same two
# neighbours, which it may see even where hidden. **Predict** who wins.

# %%
from minivl.evaluation.mlm import evaluate_mlm

with torch.no_grad():
    found = evaluate_mlm(texts, reader, device, 32 if TEST else 1_400)
kinds = {"glosses": "definitions held out", "captions": "captions of pairs never seen"}
groups = rows_of(found, "mlm", kinds, by_neighbours="a table of neighbours")
baselines("Hidden words named rightly", groups)

# %% [markdown]
# The model is far above the most frequent word. On definitions, after a minute, the table is far
# ahead: remembering is quick. What does the model say instead?

# %%
from minivl.visualize.blanks import blanks

with torch.no_grad():
    some = [fill(reader, text, held_out.ids(EVALUATION_SEED, i), i) for i in range(128)]
blanks([guess for guess in some if guess], shown=6)

# %% [markdown]
# Look for wrong words of the right kind: an adjective for an adjective, a plant for a plant. Then
# hide what *you* like.


# %%
from minivl.visualize.hide_a_word import guesses, hide_a_word


def in_turn(ids):
    """A guess for each word of a text, hidden in turn."""
    words = torch.arange(1, len(ids) - 1)
    hidden = torch.tensor(ids).repeat(len(words), 1)
    hidden[words - 1, words] = text.mask_id
    states = reader.encode_text(hidden.to(device))[words - 1, words]
    return guesses(reader.predict(states), ids[1:-1], text.vocab)


new_captions = texts.captions("compositions")
kinds = (new_captions, held_out)
chosen = [one.ids(EVALUATION_SEED, 256 * number) for number in range(5) for one in kinds]
with torch.no_grad():
    viewer = hide_a_word([in_turn(ids) for ids in chosen], shown=4)
display(viewer)
viewer.still  # the same, for where scripts do not run

# %% [markdown]
# ## 9. Why not always `[MASK]`?
#
# Two small readers of captions. One learns with 80/10/10, the other with `[MASK]` only. At one place
# of each caption stands `[MASK]`, the right word, or a wrong one: what belongs there? **Predict**
# all six numbers.


# %%
def small_reader(all_hidden, steps=10 if TEST else 250):
    """Reads captions; with all_hidden every selected word becomes [MASK]."""
    examples = MaskedTexts(captions, text, reading.data, seed=1, all_hidden=all_hidden)
    torch.manual_seed(3)
    encoder = replace(reading.text, width=64, depth=1)
    trained = replace(reading, text=encoder).build_model(text).to(device)
    stream = Stream("captions", examples, reading.training.batch_size)
    with plugged(mask_tokens, masked_cross_entropy):
        fit(trained, batches(stream, steps), steps, **how)
    return trained


# %%
found = text.batch([text.decode(new_captions.ids(0, 3 * i)) for i in range(400)])
ids, real = (tensor.to(device) for tensor in found.values())
every, draws = torch.arange(len(ids), device=device), torch.Generator().manual_seed(0)
places = (torch.rand(len(ids), generator=draws).to(device) * (real.sum(dim=1) - 2)).long() + 1
right = ids[every, places]
wrong = torch.randint(5, len(text), right.shape, generator=draws).to(device)
standing = {"[MASK]": torch.full_like(right, text.mask_id), "right": right, "wrong": wrong}
for name, all_hidden in (("80/10/10", False), ("always [MASK]", True)):
    trained, line = small_reader(all_hidden), []
    for there, word in standing.items():
        with torch.no_grad():
            states = trained.encode_text(ids.index_put((every, places), word), real)
            named = trained.predict(states[every, places]).argmax(dim=1)
        line.append(f"{there}: {float((named == right).double().mean()):.0%}")
    print(f"{name:14}", *line, sep="   ")

# %% [markdown]
# Both read holes alike. But later, in fine-tuning, nothing is hidden. The second reader was never
# asked about a word that it sees, and hardly uses it. The first keeps each word in mind *and*
# doubts it: swapped ones taught it that.
#
# ## 10. What no reader can guess
#
# "a ____ on the left": which words of a caption follow from the others? **Predict**, then count.

# %%
sprites = texts.scenes.world("train").sprites
drawings = [one for drawings in sprites for one in drawings]
kinds = {"names": {i for one in drawings for i in text.encode(one.name)[1:-1]}}
kinds["colours"] = {i for one in drawings if one.colour for i in text.encode(one.colour)[1:-1]}
data = replace(texts.data, probability=0.15)
asking = MaskedTexts(new_captions, text, data, EVALUATION_SEED, all_hidden=True)
with torch.no_grad():
    answers = [reader.answers(one) for one in batches_of(asking, 32 if TEST else 1_400, device)]
labels = torch.cat([label for _, label in answers]).tolist()
good = torch.cat([scores.argmax(dim=1) == label for scores, label in answers]).tolist()
kinds["all others"] = set(labels) - kinds["names"] - kinds["colours"]
for kind, members in kinds.items():
    hits = [hit for hit, label in zip(good, labels, strict=True) if label in members]
    print(f"{kind:10} {sum(hits) / max(len(hits), 1):4.0%} of {len(hits)}")

# %% [markdown]
# Grammar follows from the sentence. *Which* animal stands on the left does not: the picture tells.
#
# That is **MMM**. FLAVA hides words and patches of one pair, and a third transformer reads both. The
# word stands in the picture, the patch in the sentence: whoever looks there learns what belongs
# together. Its loss is yours, once over words, once over patches. Lesson 07 trains it.
#
# ## 11. Two questions
#
# **A. Why hide 15 % of the words, but 40 % of the patches?**
#
# <details><summary>Answer</summary>
#
# Pictures repeat themselves: what is hidden is often seen again next to it. Each missing word takes
# meaning with it. So a picture needs larger holes to be a riddle, and a text with such holes is a
# riddle without an answer. MAE hides 75 % of a picture. The experiment: hide more and more from the
# two models that you trained.
#
# </details>

# %%
shares, known = [0.1, 0.2, 0.4, 0.6, 0.8], {"patches": [], "words": []}
for share in shares:
    data = replace(texts.data, probability=share)
    asking = MaskedTexts(held_out, text, data, EVALUATION_SEED, all_hidden=True)
    for name, predict, asked in (
        ("patches", model.answers, hidden_anew(share, scattered=False)),
        ("words", reader.answers, batches_of(asking, 32 if TEST else 700, device)),
    ):
        with torch.no_grad():
            known[name].append(masked_accuracy(predict, asked)["accuracy"].value)

# %%
from minivl.visualize.lines import line_chart

falls = {name: [value / (values[0] or 1) for value in values] for name, values in known.items()}
assert TEST or falls["patches"][-1] > falls["words"][-1]
line_chart(shares, falls, title="The more is hidden, the less is known", xlabel="share hidden",
           ylabel="named rightly, over that at 10 %")  # fmt: skip

# %% [markdown]
# **B. Did MIM learn more than copying?** Where in a block would you look?
#
# <details><summary>Answer</summary>
#
# Inside. At the rim a neighbour is seen, and copying is at its best. Deeper in, nothing near can be
# copied, and what the model names beyond copying is knowledge of how pictures go on. That is the
# reason for blocks: scattered holes have no inside, so a network that only copies would hardly be
# found out. The experiment sorts hidden patches by
# their distance from the nearest seen one.
#
# </details>

# %%
cells = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float().to(device)
inside = {"the model": torch.zeros(3), "copying": torch.zeros(3)}
asked = torch.zeros(3)
for batch in new:
    hide, codes = batch["patches_masked"], batch["visual_tokens"]
    far = torch.cdist(cells, cells).expand(len(hide), -1, -1)
    far = far.masked_fill(hide.flatten(1).unsqueeze(1), torch.inf).amin(dim=2)
    depth = far[hide.flatten(1)].long().clamp(1, 3) - 1
    with torch.no_grad():
        scores, truth = model.answers(batch)
    asked += depth.bincount(minlength=3).cpu()
    for name, guess in (
        ("the model", scores.argmax(dim=1)),
        ("copying", copied(codes, hide)[hide]),
    ):
        inside[name] += depth[guess == truth].bincount(minlength=3).cpu()
shares = {name: (right / asked.clamp(min=1)).tolist() for name, right in inside.items()}
assert TEST or shares["the model"][1] > shares["copying"][1]
baselines("At the rim and inside of blocks", {
    away: [(name, share[k], name == "the model") for name, share in shares.items()]
    for k, away in enumerate(("next to a seen patch", "two patches away", "three or more"))
})  # fmt: skip

# %% [markdown]
# ## 12. Stretch: leave them out
#
# MAE shows its encoder only the patches that are not hidden. Write it: (b, n, d) and a mask to
# (b, seen, d), for masks that hide equally many. Where must positions be added now?
#
# <details><summary>Idea</summary>
#
# `x[~mask].view(len(x), -1, x.shape[-1])`, *after* positions are added: a row no longer tells the
# place. With 75 % hidden the encoder does a quarter of the work. A small decoder then gets states
# and mask tokens, and draws pixels. BEiT and FLAVA keep all places: FLAVA's MMM needs a state of
# each.
#
# </details>
#
# ## 13. Full size
#
# At size `base` the next cell also takes a hundred steps of 16 texts with the full text encoder: an
# estimated two minutes and 8 GB on a GPU.

# %%
full = MlmRecipe.at_size("base")
with torch.device("meta"):  # shapes only: no number is drawn
    giants = {
        "MIM": MimRecipe.at_size("base").build_model(),
        "MLM": full.build_model(WordPiece.load()),
    }
for name, giant in giants.items():
    for part, module in giant.named_children():
        print(f"{name} {part:13} {sum(p.numel() for p in module.parameters()) / 1e6:5.1f} million")
if size() == "base":
    full = replace(full, training=replace(full.training, batch_size=16))
    library = TextSource.load(full.data, full.scenes)
    giant = full.build_model(library.text).to(device)
    with plugged(mask_tokens, masked_cross_entropy):
        losses = fit(giant, batches(full.build_streams(library, 0)[0], 100), 100, lr=1e-4)
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")

# %%
progress()

# %% [markdown]
# ## What you have now
#
# **Built:** block-wise masks, a token for what is hidden, BERT's 80/10/10, a loss over what was
# asked. **Seen:** holes filled in pictures and sentences. **Measured:** copying against knowing,
# the use of 80/10/10, and which words only a picture can tell.
#
# It is all in `minivl/objectives/masking.py`, `minivl/objectives/masked.py`,
# `minivl/models/mim.py` and `minivl/models/mlm.py`.
#
# ```
# minivl train mim --size tiny               # three minutes on two cores, and a report
# minivl train mlm --size tiny               # as long
# minivl train mim --size base --dry-run     # days on many GPUs: its work and memory
# torchrun --nproc-per-node 8 -m minivl train mlm --size base --out runs/mlm
# ```
#
# Next, lesson 05: a million pictures, one sentence. Which picture does it describe?
