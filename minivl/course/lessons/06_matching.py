# %% [markdown]
# # 06 · Matching
#
# **The question: one picture, one sentence. Do they belong together?**
#
# CLIP chose the best of many. Matching has nobody to compare with: it must say yes or no. Three
# blanks, about an hour and a half. Stuck in one? `hint(NAME)`.

# %%
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivl.course import check, hint, plugged, progress, size
from minivl.objectives.masking import IGNORE
from minivl.objectives.matching import draw_partners, same_pairs

# %% [markdown]
# ## 1. What a cosine does not say
#
# Two encoders are trained already, and stay frozen here: FLAVA's, your own run of it if there is one.
# FLAVA's matching head is not used. You train yours.

# %%
from minivl.commands.shipped import trained
from minivl.course.frozen import encode, encode_pool, exchanged, fits
from minivl.data.texts import TextSource
from minivl.recipes.flava import FlavaRecipe
from minivl.training.device import choose_device

TEST, device = size() == "test", choose_device()
print(f"size {size()}" + (": a rehearsal, nothing is learned" if TEST else ""))
PAIRS, STEPS, BATCH, POOL = (64, 6, 8, 12) if TEST else (4096, 200, 48, 128)
recipe = FlavaRecipe.at_size("test" if TEST else "tiny")
source = TextSource.load(recipe.texts, recipe.data)
text, longest = source.text, recipe.data.max_length
if TEST:
    model, which = recipe.build_model(source).requires_grad_(False), "encoders of noise"
else:
    model, which = trained("flava", fits=lambda model: fits(model, text))
model = model.to(device).eval()
print(which)

# %% [markdown]
# What they make of a pair is computed once: *states*, a vector for each patch and word piece, and the
# unit vectors $v$ and $w$ that contrastive training compares.

# %%
from minivl.evaluation.pools import mirrored_pool, retrieval_pool
from minivl.visualize.scenes import contact_sheet

pool = mirrored_pool(source.scenes, "validation", POOL // 2)  # 2k and 2k + 1 are mirrored twins
twins = encode_pool(model, text, pool.images, pool.captions, longest)
other = torch.arange(len(twins), device=device) ^ 1
own, mirrored = ((twins.v * w).sum(dim=1) for w in (twins.w, twins.w[other]))
told = [f"{pool.captions[i]}: {own[i]:.2f}. Mirrored: {mirrored[i]:.2f}" for i in range(0, 8, 2)]
contact_sheet(pool.images[:8:2], told)

# %% [markdown]
# Each picture's own sentence with its cosine, and the cosine of the sentence with both sides exchanged.
# From which number on do you say yes? **Guess:** how many own sentences have a lower cosine than the best mirrored one of any picture?

# %%
print(f"own: {own.min():.2f} to {own.max():.2f}; mirrored: up to {mirrored.max():.2f}")
print(f"{(own < mirrored.max()).double().mean():.0%} of the own ones are below that")

# %% [markdown]
# A cosine ranks. It draws no line between yes and no. *Image-text matching* (ITM) learns the line: both
# sides go through one network *together*, and two scores say no ($z_0$) or yes ($z_1$).
#
# $$L_{\mathrm{ITM}}=-\frac1N\sum_{i=1}^{N}\ln\frac{e^{z_{i,y_i}}}{e^{z_{i,0}}+e^{z_{i,1}}}$$
#
# $y_i=1$ if the two belong together.

# %% [markdown]
# ## 2. Which wrong pairs?
#
# Right pairs come with the data. A batch of $b$ also holds $b(b-1)$ wrong ones for nothing, most of them
# far off: a shoe, and a sentence about a cow. **What would a wrong pair need, to teach more?**

# %%
from minivl.data.stream import Stream, fetch

stream = Stream("pairs", source.scenes.examples("train", seed=0), PAIRS)
given = fetch(stream, range(PAIRS), 0).batch
pairs, scale = encode(model, given), model.logit_scale.exp()
print(f"{PAIRS} pairs; {pairs.image.shape[1]} tokens a picture, {pairs.text.shape[1]} a sentence")

# %% [markdown]
# To look right. The encoders know what looks right, so they draw (ALBEF, section 3.2). With logits
# $\ell_{ij}$ and $W_i$, all that is wrong for $i$:
#
# $$p_{ij}=\frac{e^{\ell_{ij}}}{\sum_{k\in W_i}e^{\ell_{ik}}}\ \text{ if } j\in W_i,\quad\text{else }0$$

# %% [markdown]
# On paper: in a row $e^{\ell}$ is 8, 2 and 1. Who is drawn how often, if the first is the true one? And
# if the first two are true?

# %%
row = torch.tensor([8.0, 2.0, 1.0])
print((row[1:] / row[1:].sum()).tolist(), "and", (row[2:] / row[2:].sum()).tolist())

# %% exercise minivl.objectives.matching.hard_negative_weights

# %% [markdown]
# ### A crash
#
# ALBEF's code takes the softmax of the whole row, and *then* sets the diagonal to 0. What is left need
# not add to 1; `torch.multinomial` does not mind. So what can go wrong? **Predict**, for a model that is
# sure:

# %%
sure, true = 200 * torch.eye(3), torch.eye(3, dtype=torch.bool)
late = sure.softmax(dim=1).masked_fill(true, 0)
try:
    torch.multinomial(late, 1)
except RuntimeError as error:
    print(error)
print(f"late: {late[0].tolist()}, yours: {hard_negative_weights(sure, true)[0].tolist()}")

# %% [markdown]
# In float32 nothing is left beside a probability of 1. The crash comes days into a training, when the
# model is good: the one most often reported to ALBEF.

# %% [markdown]
# Drawing takes one even $u\in[0,1)$ a row: `draw_partners` lays the weights end to end, and $u$ falls on
# one. Nobody to draw: −1. **Which column** at 0.3, 0.6 and 0.6?

# %%
weights = torch.tensor([[0, 2 / 3, 1 / 3], [1 / 3, 0, 2 / 3], [0, 0, 0]])
draw_partners(weights, torch.tensor([0.3, 0.6, 0.6])).tolist()

# %% [markdown]
# ## 3. The hardest ones
#
# A batch, and your weights. `same_pairs` marks each pair itself, and equal captions. **Predict** what a
# likely wrong sentence has in common with the right one.


# %%
def weights_of(rows):
    """(b, b) twice: wrong sentences of each picture, wrong pictures of each sentence."""
    logits, same = scale * pairs.v[rows] @ pairs.w[rows].T, same_pairs(pairs.ids[rows])
    return hard_negative_weights(logits, same), hard_negative_weights(logits.T, same)


# %%
from minivl.recipes.masked_figures import to_pictures
from minivl.visualize.hardest_negatives import hardest_negatives

tables = [table.cpu().numpy() for table in weights_of(torch.arange(BATCH))]
captions = [text.decode(ids) for ids in given["input_ids"][:BATCH].tolist()]
pictures = to_pictures(given["image"][:BATCH])
hardest_negatives(pictures, captions, *tables, rows=range(0, BATCH, BATCH // 4))

# %% [markdown]
# Often the same places, things that look alike, or the mirrored twin; not always. How many name a thing
# that the right sentence names? Beside partners at random:

# %%
draw = torch.Generator().manual_seed(0)
named = [{thing.name for thing in stream.examples.scene(i).things} for i in range(PAIRS)]
shared = {"at random": 0, "hard": 0}
for rows in torch.arange(PAIRS).split(BATCH):
    anyone = 1 - torch.eye(len(rows))
    for name, table in (("at random", anyone), ("hard", weights_of(rows)[0].cpu())):
        drawn = rows[draw_partners(table, torch.rand(len(rows), generator=draw))]
        shared[name] += sum(bool(named[i] & named[j]) for i, j in torch.stack([rows, drawn], 1))
print({name: f"{count / PAIRS:.0%}" for name, count in shared.items()})
assert TEST or shared["hard"] > 2 * shared["at random"]

# %% [markdown]
# ### Why draw, and not take the hardest?
#
# Two pictures of a batch may have one caption. Leave out the diagonal only, as ALBEF's pretraining does:
# how often is the equal caption, a *true* one, then taken for a wrong one? **Guess** for the maximum,
# and for a draw.

# %%
count, taken = 0, {"the hardest": 0, "drawn": 0, "drawn with same_pairs": 0}
for rows in torch.arange(PAIRS).split(BATCH):
    diagonal = torch.eye(len(rows), dtype=torch.bool, device=device)
    same, strict = same_pairs(pairs.ids[rows]), weights_of(rows)[0]
    loose = hard_negative_weights(scale * pairs.v[rows] @ pairs.w[rows].T, diagonal)
    u, double = torch.rand(len(rows), generator=draw).to(device), (same & ~diagonal).any(dim=1)
    picks = loose.argmax(dim=1), draw_partners(loose, u), draw_partners(strict, u)
    count += int(double.sum())
    for name, pick in zip(taken, picks, strict=True):
        taken[name] += int((same.gather(1, pick[:, None])[:, 0] & double).sum())
shares = {name: f"{hits / max(count, 1):.0%}" for name, hits in taken.items()}
print(f"{count} of {PAIRS} pairs have an equal caption beside them; taken for wrong: {shares}")
print(f"the likeliest has a weight of {strict.amax(dim=1).mean():.0%} on average")

# %% [markdown]
# <details><summary>Why draw</summary>
#
# The hardest wrong sentence is the one most like the right one. If a true one is among them, that is it:
# the maximum finds every mistake of the data. So does nearly each draw, for the logits are large, and
# most of the weight lies on one partner. What is known to be true must be left out. And what is not
# known? "A dog left of a cat" may say the same in other words. There only the draw helps, a little: it
# asks other questions too, the maximum the same one in every epoch.
#
# </details>
#
# ## 4. The batch that asks
#
# Three blocks: right pairs, each sentence with a wrong picture, each picture with a wrong sentence.

# %% [markdown]
# Pictures 1, 2, 3 and sentences 10, 20, 30. Drawn were the pictures 2, 3, 2 and the sentences 30, 10,
# 10. **Write down** all nine pairs.

# %%
print("pictures ", [1, 2, 3], [2, 3, 2], [1, 2, 3])
print("sentences", [10, 20, 30], [10, 20, 30], [30, 10, 10])

# %% exercise minivl.objectives.matching.itm_batch

# %% [markdown]
# It moves rows; so it also moves their *numbers*, and each picture is encoded once, however often it is
# judged. For the last row nobody was drawn:

# %%
one = torch.arange(3)
for numbers in itm_batch(one, one, one.roll(1), torch.tensor([2, 0, -1])):
    print(numbers.tolist())

# %% [markdown]
# One in three is right. Saying so of every pair, yes to a third, costs
# $-\frac13\ln\frac13-\frac23\ln\frac23=0.64$.
#
# ## 5. Where they meet
#
# *Merged attention* (FLAVA): a transformer reads one sequence, with its own class token.
#
# $$[\,\mathrm{CLS}_M;\;h_I;\;h_T\,]$$

# %% [markdown]
# With 37 tokens of a picture and 16 of a sentence: how many in all? At which number do words begin?

# %%
print(1 + 37 + 16, "and", 1 + 37)

# %% exercise minivl.models.flava.merge_tokens

# %% [markdown]
# *Co-attention* (ViLBERT): two streams; words ask patches, and patches words. *Cross-attention* (ALBEF):
# words ask words, then patches; nobody tells the picture anything.
#
# **Draw** for each of the three who hears of whom, after one block and after two.

# %%
from minivl.course.matchers import FUSIONS, Fusion
from minivl.visualize.fusions import fusions, hears, work

depths = {"after one block": 1, "after two": 2}
with plugged(merge_tokens):
    heard = {kind: {when: hears(Fusion(kind, 8, depth), patches=4, words=3, width=8)
                    for when, depth in depths.items()} for kind in FUSIONS}  # fmt: skip
fusions(heard, patches=4)

# %% [markdown]
# A cell is filled if the output of its row has a gradient at the input of its column. In co-attention
# words hear of words by way of the picture, from block two on. In cross-attention the picture stays what
# it was, so one picture serves many sentences.

# %% [markdown]
# What *one* block costs. A picture has $n$ tokens, a sentence $t$; each is a vector of $d$ numbers:
#
# | | products of a query with a key | weights to learn, about |
# |---|---|---|
# | merged | $(1+n+t)^2$ | $12\,d^2$ |
# | co | $2\,n\,t$ | $24\,d^2$ |
# | cross | $t^2+t\,n$ | $16\,d^2$ |

# %% [markdown]
# So 4, 2 and 3 blocks have equally many weights. **Predict** which of the three multiplies least. Then
# count, while they run:

# %%
WIDTH, DEPTHS = 48, dict(zip(FUSIONS, (4, 2, 3), strict=True))
n, t = pairs.image.shape[1], pairs.text.shape[1]
formulas = (1 + n + t) ** 2, 2 * n * t, t * t + t * n
for kind, formula in zip(FUSIONS, formulas, strict=True):
    fusion, pair = Fusion(kind, WIDTH, DEPTHS[kind]), [torch.zeros(1, k, WIDTH) for k in (n, t)]
    done = work(fusion, lambda: fusion(*pair))  # noqa: B023
    weights = sum(p.numel() for p in fusion.parameters())
    assert done.products == DEPTHS[kind] * formula
    print(f"{kind:16} {weights:,} weights, {formula:,} products a block, "
          f"{done.multiplications / 1e6:.1f} million multiplications a pair")  # fmt: skip

# %% [markdown]
# Few products are of a query with a key; most are with weights. So it counts *which tokens pass
# through a block*: all 54 through four blocks, 53 through two, or the 16 of the sentence through three.
#
# ## 6. Train all three
#
# On the frozen states, with your weights, your batch, your tokens.

# %%
from minivl.course.matchers import Matcher, all_beliefs, both_beliefs, yes_or_no


class Asked(nn.Module):
    """A matcher, and the wrong pairs that it is asked about."""

    def __init__(self, kind):
        super().__init__()
        widths = model.image_encoder.width, model.text_encoder.width
        self.matcher = Matcher(kind, widths, WIDTH, DEPTHS[kind])

    def forward(self, batch):
        rows, (u, v) = batch["rows"], batch["u"]  # which pairs, and a draw in [0, 1) for each side
        sentences, images = weights_of(rows) if batch["hard"] else 2 * [batch["anyone"]]
        drawn = draw_partners(images, u), draw_partners(sentences, v)
        i, t, labels = itm_batch(rows, rows, *drawn)
        scores = self.matcher(pairs.image[i], pairs.text[t], pairs.seen[t])
        return {"itm": F.cross_entropy(scores, labels)}


# %%
from minivl.course.train import fit


def train(kind, hard_from=0, seed=0):
    """Wrong pairs are drawn at random up to a step, then by hardness -> matcher, losses."""
    torch.manual_seed(seed)
    asked, draw = Asked(kind).to(device), torch.Generator().manual_seed(seed)
    batches = (
        {"rows": (torch.arange(BATCH) + step * BATCH) % PAIRS, "anyone": 1 - torch.eye(BATCH),
         "u": torch.rand(2, BATCH, generator=draw), "hard": step >= hard_from}
        for step in range(STEPS)
    )  # fmt: skip
    with plugged(merge_tokens):
        losses = fit(asked, batches, STEPS, lr=4e-3, optimizer="muon", warmup=STEPS // 8)
    return asked.matcher, losses


# %% [markdown]
# All wrong pairs are hard now. **Predict** which of the three learns fastest. It takes about a minute on
# two cores.

# %%
from minivl.visualize.curves import constant_level
from minivl.visualize.loss_panels import loss_panels

trained = {kind: train(kind) for kind in FUSIONS}
curves = {kind: [{"itm": loss} for loss in losses] for kind, (_, losses) in trained.items()}
loss_panels(curves, {"itm": constant_level(1 / 3)})

# %% [markdown]
# First all learn that one in three is right: the dotted line, 0.64. Co-attention is the first to do
# better. Now new photographs. Each picture is asked about its own sentence, and about a
# wrong one: a stranger's, or the mirrored one. Blue is yours; a red number beats all blue ones.

# %%
from minivl.visualize.baselines import baselines

strangers = retrieval_pool(source.scenes, "validation", POOL)
alone = encode_pool(model, text, strangers.images, strangers.captions, longest)
tests = {"its own, or a stranger's": (alone, torch.arange(POOL, device=device).roll(1)),
         "its own, or mirrored": (twins, other)}  # fmt: skip


def flava_itself(image, words, seen):
    return model.itm_head(model.fuse(image, words, seen))


bars = {
    asked: [(kind, yes_or_no(matcher, *test), True) for kind, (matcher, _) in trained.items()]
    + [("FLAVA's own head", yes_or_no(flava_itself, *test), False), ("guessing", 0.5, False)]
    for asked, test in tests.items()
}
baselines("Yes or no", bars)

# %% [markdown]
# Co-attention is ahead in both. Does that judge an architecture? It is one seed and 200 steps. FLAVA's own
# head is merged, had over a thousand, and beats all three.

# %% [markdown]
# ## 7. Hard from the start?
#
# Wrong pairs at random; hard ones; or at random first, hard ones after a third of the steps. Same
# questions, and one more: *which* of all sentences does it believe most? **Predict** who wins each.

# %%
from minivl.evaluation.retrieval import recall_at_k, relevance

relevant = relevance(strangers.captions, strangers.captions)


def found(table):
    """Share of pictures whose own sentence has the highest score of all."""
    return recall_at_k(table.cpu(), relevant, 1)[0].value


schedules = {"at random": STEPS, "at random, then hard": STEPS // 3}
judges = {name: train("cross-attention", step)[0] for name, step in schedules.items()}
judges["hard"] = trained["cross-attention"][0]
bars = {
    asked: [(name, yes_or_no(judge, *test), True) for name, judge in judges.items()]
    for asked, test in tests.items()
}
beliefs = {name: all_beliefs(judge, alone) for name, judge in judges.items()}
bars[f"which of {POOL}"] = [(name, found(table), True) for name, table in beliefs.items()]
baselines("Wrong pairs in training", bars)

# %% [markdown]
# <details><summary>What to make of it</summary>
#
# A stranger's sentence is what random pairs ask about, and they teach it best: 95 %, hard ones 77 %. For
# the mirrored sentence "at random, then hard" wins: 85 %, beside 81 % and 75 %. In a hard batch two of
# three pairs are wrong and look right: a beginner learns to doubt. Asked which of all, the one with hard
# pairs from the start came last in each of our five runs.
#
# Were they wasted? Not with more steps, and where it is hard. After 600, asked whether it believes a
# picture's own sentence more than the mirrored one, the matcher was right in 99 % with hard pairs and in
# 96 % with random ones (one seed). Yes or no about strangers stayed theirs.
#
# ALBEF draws hard ones from step 0. Its encoders know nothing then, so what they find hard is arbitrary
# at first: the change comes by itself.
#
# </details>
#
# ## 8. Both ask “do they match?” Why both?
#
# Let the cosine (ITC) and the matcher (ITM) answer the same question: one's own sentence, or a wrong
# one? Wrong are mirrored ones, and ones with one thing exchanged.

# %%
import numpy as np

sentences = [*pool.captions, *exchanged(pool.scenes)]
twice = np.concatenate([pool.images, pool.images])
several = encode_pool(model, text, twice, sentences, longest)
questions = tests | {
    "its own, or one thing exchanged": (several, torch.arange(POOL, device=device) + POOL)
}
print(sentences[0], "->", sentences[POOL])

# %% [markdown]
# **Predict** who wins where: ITC, ITM, or both together, the sum of their logits.

# %%
judge = judges["at random, then hard"]


def preferred(asked, wrong):
    """Whose margin between own and wrong sentence is positive, as a share."""
    own = torch.arange(len(wrong), device=device)
    near = scale * (asked.v[own] * (asked.w[own] - asked.w[wrong])).sum(dim=1)
    right, foreign = both_beliefs(judge, asked, wrong)
    margins = {"ITC": near, "ITM": right - foreign, "both together": near + right - foreign}
    return [(way, float((one > 0).double().mean()), way != "ITC") for way, one in margins.items()]


near, sure = scale * alone.v @ alone.w.T, beliefs["at random, then hard"]
both = near.log_softmax(dim=1) + F.logsigmoid(sure)
bars = {asked: preferred(*question) for asked, question in questions.items()}
bars[f"which of {POOL}"] = [
    ("ITC", found(near), False), ("ITM", found(sure), True), ("both together", found(both), True)
]  # fmt: skip
baselines("The right one is preferred", bars)

# %% [markdown]
# <details><summary>An answer</summary>
#
# Here the cosine ranks better, also beside mirrored sentences: it was trained on batches that hold both
# twins, and for over a thousand steps against 200. So it is not ranking alone that ITM is for.
#
# 1. ITC cannot say no (section 1). ITM judges a pair with nobody beside it.
# 2. ITC needs one pass a picture, ITM one a pair. Let ITC find ten, and ITM choose (lesson 11).
# 3. ITC finds the wrong pairs that ITM learns from.
# 4. ITM fuses. What answers questions about a picture starts from there; nothing starts from a cosine.
#
# Where does ITM overtake? Train longer, and the encoders with it: lesson 09.
#
# </details>
#
# And ALBEF's own answer, recalls of texts (TR) and of pictures (IR), in per cent:

# %%
from minivl.course.published import table

tasks, *recalls = "training tasks", "TR (Flickr test)", "IR (Flickr test)"
table("albef_ablation").select(
    [tasks, *recalls], lambda row: "ITM" in row[tasks] and "MoD" not in row[tasks]
)

# %% [markdown]
# ## 9. Paper, code, minivl
#
# | | ALBEF's paper | ALBEF's code | FLAVA's code | minivl |
# |---|---|---|---|---|
# | the wrong pairs | hard, of both kinds | drawn | 10 %, other texts at random | `--negatives`, `--itm-negatives` |
# | never drawn as wrong | – | the pair itself, after the softmax | equal texts | equal captions, before it |
# | where nobody is left to draw | – | crash | – | not asked |
# | pairs it judges | whole | whole | patches and words hidden | as the codes |
# | the yes or no is made from | [CLS] | [CLS] of the words | [CLS_M], dense, tanh | as the codes |
#
# Against the crash, ALBEF's fine-tuning code adds 0.0001 to all scores *inside* the softmax. What does
# that change?
#
# <details><summary>Answer</summary>
#
# Nothing: all scores rise alike, and the softmax knows differences only.
#
# </details>

# %% [markdown]
# ## 10. Stretch: how hard is too hard?
#
# Let `weights_of` multiply the logits by a number: 0 draws at random, 10 takes the hardest. Plot section
# 7's answers against it.
#
# <details><summary>Idea</summary>
#
# `minivl.visualize.recall.recall_against` draws it. Take three seeds each, for differences are small.
# Then let some true pairs pass for wrong: give every other caption in another of the five ways of
# `minivl.data.captions.captions`, with encoders that know them.
#
# </details>
#
# ## 11. Full size
#
# ALBEF has 6 blocks of cross-attention, 257 tokens a picture, up to 30 a sentence. At size `base` the
# next cell also judges 96 pairs with each fusion, there and back: an estimated minute and 10 GB on a GPU.

# %%
for kind, depth in zip(FUSIONS, (8, 4, 6), strict=True):
    with torch.device("meta"):  # shapes only: no number is drawn
        fusion, pair = Fusion(kind, 768, depth, 12), [torch.empty(1, k, 768) for k in (257, 30)]
        done = work(fusion, lambda: fusion(*pair))  # noqa: B023
    print(f"{kind:16} {depth} blocks, {sum(p.numel() for p in fusion.parameters()) / 1e6:.0f} million "
          f"weights, {done.multiplications / 1e9:.1f} billion multiplications a pair")  # fmt: skip
    if size() == "base":
        fusion = Fusion(kind, 768, depth, 12).to(device)
        fusion(*(torch.randn(96, k, 768, device=device) for k in (257, 30))).sum().backward()

# %%
progress()

# %% [markdown]
# ## What you have now
#
# **Built:** weights that draw what looks right and is wrong; a batch that asks about it; one sequence of a
# picture and a sentence. **Seen:** a crash; who hears of whom. **Measured:** what three fusions cost and
# learn, when hard pairs help, what matching adds to comparing.
#
# ```
# minivl train albef --size tiny --negatives random     # against hard ones, its default
# minivl train flava --size tiny --objectives contrastive itm
# torchrun --nproc-per-node 8 -m minivl train albef --size base --out runs/albef
# ```
#
# Next, lesson 07: FLAVA asks for matching among five other things.
