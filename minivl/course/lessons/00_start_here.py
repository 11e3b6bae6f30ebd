# %% [markdown]
# # 00 · Start here
#
# How is a model built that sees a picture, reads a sentence and understands both? This course
# answers with three papers, **FLAVA**, **UniT** and **ALBEF**, and with code that you write
# yourself. This lesson, about an hour and a half, shows the data, three families of models, and the
# one calculation that all of them share.
#
# Run the cells from top to bottom with Shift+Enter. If the first one fails, run `minivl doctor` in
# a terminal: it says what to mend.

# %%
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minivl.course import check, hint, plugged, progress, published, size
from minivl.nn.transformer import Layer, Transformer

# %% [markdown]
# ## 1 · What the models learn from
#
# **Question.** What must a model see in this picture, to know that these sentences are true?

# %%
from minivl.data.examples import SceneData, SceneSource
from minivl.visualize.browser import browse, scene_card, scene_sheet

source = SceneSource.load(SceneData(image_size=96))
scenes = source.examples("train", seed=0)
scene_card(scenes, 0)

# %% [markdown]
# Things, their looks, their places, and a landscape. minivl draws such scenes while it reads them:
# one or two drawings on a photograph. It puts every thing there itself. So boxes and sentences are
# exact, and the course can *measure* what a model knows.
#
# Leaf through them. The splits for testing hold what no training picture shows: other photographs,
# another artist, other pairs of things.

# %%
browse(source)

# %%
scene_sheet(scenes)  # a still of the same: eight scenes with the sentence that training reads

# %% [markdown]
# **What do the papers learn from?** FLAVA reads PMD: public data sets with 70 million pairs of
# picture and text, far fewer than the 400 million private ones of CLIP. It also reads pictures
# alone and texts alone; the table leaves those out.

# %%
pmd = published.table("pmd")
pmd

# %%
lengths = [len(scenes.caption(number).split()) for number in range(500)]
average = sum(lengths) / len(lengths)
low, high = (pmd.row({"data set": name})["average words"] for name in ("Visual Genome", "COCO"))
print(f"average words here: {average:.1f}, between those of Visual Genome and COCO")
assert low < average < high

# %% [markdown]
# ## 2 · Three families
#
# **Question.** Where should picture and sentence meet?

# %%
from minivl.visualize.families import families

families(scenes[0]["image"], scenes.caption(0))

# %% [markdown]
# - A **dual encoder** makes one vector of each. Only a dot product compares them.
# - A **fusion encoder** puts patches and words into one transformer. Every word can look at every
#   patch.
# - An **encoder-decoder** stores the tokens of both. A decoder reads them with a task's *queries*:
#   learned vectors that stand for a question, such as “which things are where?”.

# %% [markdown]
# **What does a late meeting buy?** Find the picture for a sentence among $n$:
#
# $$s_i = v_i \cdot u \qquad i = 1, \dots, n$$
#
# $u$, of shape $(d)$, is the sentence's vector, $v_i$, of shape $(d)$, that of picture $i$; $s_i$, a
# number, is their similarity. All $v_i$ are computed once and kept. A fusion encoder has nothing to
# keep: it runs anew for each pair.

# %% tags=["measures-time"]
from functools import partial
from timeit import repeat

from minivl.visualize.lines import line_chart


@torch.no_grad()
def seconds(work, *arguments):
    """The fastest of three runs."""
    return min(repeat(partial(work, *arguments), number=1, repeat=3))


# Random numbers take as long as real ones. A pair: 36 patches and 8 words.
counts = [4, 16, 64] if size() == "test" else [10, 100, 1000]
fusion, pairs = Transformer(width=96, depth=2, heads=4), torch.randn(counts[-1], 36 + 8, 96)
vectors, sentence = torch.randn(counts[-1], 96), torch.randn(96)
times = {
    "fusion encoder": [seconds(fusion, pairs[:n]) for n in counts],
    "dual encoder": [seconds(torch.mv, vectors[:n], sentence) for n in counts],
}
assert times["fusion encoder"][-1] > 10 * times["dual encoder"][-1]
line_chart(
    counts, times, title="One sentence, many pictures", xlabel="pictures to choose from",
    ylabel="seconds", logarithmic=True,
)  # fmt: skip

# %% [markdown]
# From one grid line to the next, everything is ten times as much. The dual encoder is more than ten
# times faster, and this fusion encoder is tiny. The price: no word ever looks at a patch.
#
# **How did the field get here?**

# %%
from minivl.visualize.timeline import timeline

timeline(published.milestones())

# %% [markdown]
# First came fusion: ImageBERT carried BERT's masking to pictures and text, ViLBERT joined two
# streams by cross-attention. Then came scale: CLIP learned two encoders from 400 million pairs,
# ALIGN from more and noisier ones. UniT shares one decoder among many tasks. ALBEF and FLAVA have
# both, a dual and a fusion part: ALBEF aligns and then fuses, FLAVA reads pairs, pictures alone and
# texts alone.

# %% [markdown]
# **Question.** A *domain* is what a model takes: vision, language, or both together. Which models
# cover all? Guess before you run the second cell.

# %%
DOMAINS = ["vision", "cross-modal", "multimodal", "language"]
table = published.table("model_families")
table.select(["model", "public data", "pretraining data", "pairs", *DOMAINS])

# %%
[row["model"] for row in table.rows if all(row[domain] == "yes" for domain in DOMAINS)]

# %% [markdown]
# Most models know one domain, or one and pairs, or all but few tasks. Some learn from data that
# nobody else has. FLAVA claims all domains with public data, over 35 tasks. How good is it? Below,
# VQAv2 and SNLI-VE ask about pictures, SST-2 and MNLI are texts alone, ImageNet is pictures alone.

# %%
CHOSEN = ["BERT-base", "CLIP ViT-B/16", "SimVLM-base", "ViLBERT", "UniT", "FLAVA"]
published.table("comparison").select(
    ["model", "VQAv2", "SNLI-VE", "SST-2", "MNLI", "ImageNet linear"],
    lambda row: row["model"] in CHOSEN,
)

# %% [markdown]
# CLIP sees well and reads poorly; BERT is blind. An empty cell is as telling as a number.

# %% [markdown]
# ## 3 · Attention
#
# All these models are transformers. They see *tokens*: a vector for each patch or word piece.
#
# **Question.** The token “left” cannot know *what* is left. Which tokens must it ask?

# %%
from minivl.nn.attention import attention_map
from minivl.visualize.numbers import Grid, number_grids

query = torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 0]])
key = torch.tensor([[1.0986, 0, 0, 0], [0, 0, 0, 0]])  # 1.0986 is ln 3
value = torch.tensor([[4.0, 8.0], [0, 0]])
weights, mixed = attention_map(query, key), attention_map(query, key) @ value
queries, keys = ["query 1", "query 2"], ["key 1", "key 2"]
grids = [Grid("weights", weights, queries, keys), Grid("values", value, keys), Grid("mixed", mixed)]
number_grids(grids, signs=["×", "="], title="Attention of two tokens")

# %% [markdown]
# Each token asks with a *query*, is found by its *key*, and gives its *value*.
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt d}\right) V$$
#
# | letter | shape | what it holds |
# |:--|:--|:--|
# | $Q$ | $(t, d)$ | one query in each row |
# | $K$ | $(s, d)$ | one key in each row |
# | $V$ | $(s, e)$ | one value in each row |
# | $QK^\top$ | $(t, s)$ | a score for each query and key |
#
# The softmax turns each row of scores $z$ into shares: $e^{z_j} / \sum_k e^{z_k}$.

# %%
scores = torch.tensor([3.0, 1.0]).log()  # query 1: ln 3 and 0
shares = scores.exp() / scores.exp().sum()
print(shares, shares @ value)  # three quarters of value 1, one quarter of value 2

# %% [markdown]
# **Why $\sqrt d$?** A dot product of wide vectors sums many terms. Its spread grows, and a softmax
# of large numbers looks at one key only.

# %%
generator = torch.Generator().manual_seed(0)
for width in (4, 64, 1024):
    one, other = torch.randn(2, 5000, width, generator=generator)
    spread = (one * other).sum(dim=-1).std()
    print(f"width {width:4}: spread {spread:5.1f}, divided by the root {spread / width**0.5:.2f}")
    assert 0.9 < spread / width**0.5 < 1.1

# %% [markdown]
# **Masks.** Some tokens must not be seen, such as the padding that makes sentences equally long. A
# mask holds a truth value for each query and key. In this whole course **True means: may look**. A
# query that may look nowhere gets zeros.

# %%
from minivl.nn.attention import attention as minivl_attention

for visible in ([True, True], [True, False], [False, False]):
    print(visible, minivl_attention(query, key, value, torch.tensor([visible])).round().tolist())

# %% [markdown]
# **How exercises work.** You fill a blank, `check` answers. Three toys: one not written, one that
# forgets to scale, one that lets torch do the work.

# %% tags=["nbval-check-output"]
from minivl.course.checking import judge, told
from minivl.course.exercise import find


def unwritten(query, key, value, mask=None): ...


def unscaled(query, key, value, mask=None):
    return minivl_attention(query * query.shape[-1] ** 0.5, key, value, mask)


def minivls_own(query, key, value, mask=None):
    return minivl_attention(query, key, value, mask)


for toy in (unwritten, unscaled, minivls_own):
    print(told(judge(toy, find("attention")), find("attention")), end="\n\n")

# %% [markdown]
# A function that passes is used from there on, **in training too**. Until then minivl's own takes
# its place: you are never stuck. `hint(attention)` gives the next of three hints. In the blanks, $b$
# counts sentences or pictures, $h$ heads (section 4).

# %% exercise minivl.nn.attention.attention

# %% [markdown]
# ## 4 · Heads
#
# **Question.** A softmax shares out one sum. What if a token needs two things, from two places?

# %%
from minivl.nn.attention import split_heads as minivl_split_heads

x = rearrange(torch.arange(1.0, 13.0), "(t w) -> 1 t w", t=3)
first, second = minivl_split_heads(x, heads=2)[0]
zero, one = torch.zeros(3, 2), torch.ones(3, 2)
whole = Grid("x", x[0], [f"token {i}" for i in (1, 2, 3)], groups=torch.cat([zero, one], dim=1))
heads = [Grid("head 0", first, groups=zero), Grid("head 1", second, groups=one)]
number_grids([whole, *heads], signs=["→", "and"], title="A width of four, split into two heads")

# %% [markdown]
# Each head attends on its own slice of the width; the results are put side by side again:
#
# $$\mathrm{head}_i = \mathrm{attention}(Q_i, K_i, V_i), \qquad i = 1, \dots, h$$
#
# $Q_i$, $K_i$ and $V_i$ are slice $i$ of the width $w = h\,d$. So a tensor $(b, t, w)$ becomes
# $(b, h, t, d)$, and no number changes.

# %%
head = x[0, :, 2:]  # head 1, by hand: the last two features of each token
assert torch.equal(head, second)
head

# %% exercise minivl.nn.attention.split_heads

# %% [markdown]
# ## 5 · The block
#
# Attention mixes tokens. Then an *MLP*, two linear layers, works on each alone. That is a *block*;
# ViT-B has twelve.
#
# **Question.** How does a token's vector survive twelve?

# %%
from minivl.visualize.blocks import block_orders

block_orders()

# %% [markdown]
# It takes a highway: each branch only *adds* to it.
#
# $$y = x + \mathrm{attention}(\mathrm{norm}_1(x)), \qquad \mathrm{out} = y + \mathrm{mlp}(\mathrm{norm}_2(y))$$
#
# $x$, $y$ and out have the shape $(b, t, w)$. The norms are layer norms. For each token,
# $\mathrm{norm}(x) = g\,(x - \mu) / \sqrt{\sigma^2 + \epsilon} + c$: $\mu$ and $\sigma^2$ are mean
# and variance of its $w$ numbers, $\epsilon$ is tiny, $g$ and $c$, of shape $(w)$, are learned.

# %%
x = torch.tensor([1.0, 3.0])  # toys: the norm subtracts the mean, attention doubles, mlp adds 1
y = x + 2 * (x - x.mean())
print(y, y + (y - y.mean()) + 1)

# %% exercise minivl.nn.transformer.pre_norm_block

# %%
# Branches that say nothing change nothing: a block can start harmless, and learn what to add.
silent: list[Layer] = [nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.LayerNorm(8)]
for parameter in [*silent[0].parameters(), *silent[1].parameters()]:
    nn.init.zeros_(parameter)
x = torch.randn(1, 5, 8)
assert torch.equal(pre_norm_block(x, *silent), x)

# %% [markdown]
# ## 6 · Your functions learn
#
# A task that needs attention: token 0 names a place, and the model must say which letter stands
# there. Inside `plugged`, minivl itself calls *your* functions.

# %%
from minivl.nn.bert import Bert

PLACES, LETTERS = 6, 8


class Pointer(nn.Module):
    """Two blocks of width 32 with two heads; token 0's vector answers."""

    def __init__(self):
        super().__init__()
        words = {"vocab_size": PLACES + LETTERS, "max_length": 1 + PLACES}
        self.reader = Bert(**words, width=32, depth=2, heads=2, norm="pre")
        self.answer = nn.Linear(32, LETTERS)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        answers = self.answer(self.reader(batch["ids"])[:, 0])
        self.right = (answers.argmax(dim=1) == batch["letter"]).float().mean().item()
        return {"letter": F.cross_entropy(answers, batch["letter"])}


# %%
def questions(seed, count=64):
    """Endless batches: ids (count, 7), token 0 the place; letter (count,), the answer."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        place = torch.randint(PLACES, (count,), generator=generator)
        letters = torch.randint(LETTERS, (count, PLACES), generator=generator)
        ids = torch.cat([place[:, None], PLACES + letters], dim=1)
        yield {"ids": ids, "letter": letters[torch.arange(count), place]}


# %%
from minivl.course.train import fit

STEPS, EVERY = (20, 10) if size() == "test" else (200, 20)


def train_pointer():
    """A trained model, and the share of right answers to new questions every EVERY steps."""
    torch.manual_seed(0)
    model, exam, shares = Pointer(), next(questions(seed=1, count=500)), []

    def watch(step):
        model(exam)
        shares.append(model.right)

    fit(model, questions(seed=0), STEPS, lr=3e-3, every=EVERY, watch=watch)
    return model, shares


with plugged(attention, split_heads, pre_norm_block):
    model, right = train_pointer()
assert size() == "test" or right[-1] > 0.9

# %% [markdown]
# Where does token 0 look? A row is a head, a column a token, a number a weight. Arrows frame the
# place that was asked for.

# %%
batch = next(questions(seed=2, count=1))
with torch.no_grad():
    _, maps = model.reader(batch["ids"], return_attention=True)
rows = torch.cat([weights[0, :, 0] for weights in maps])  # of token 0: (4 heads, 7 tokens)
place = batch["ids"][0, 0].item()
names = ["asks", *("abcdefgh"[i - PLACES] for i in batch["ids"][0, 1:])]
names[1 + place] = f"→ {names[1 + place]} ←"
labels = [f"block {block}, head {head}" for block in (1, 2) for head in (0, 1)]
number_grids([Grid("weights of token 0", rows, labels, names)], title="Where token 0 looks")

# %% [markdown]
# **Question.** Suppose the softmax ran down the columns, over the queries instead of the keys.
# Would the model still learn? Decide first.

# %%
variants = {variant.name: variant for variant in find("attention").variants}
with plugged(variants["softmax over queries"].function):
    _, wrong = train_pointer()
line_chart(
    range(EVERY, STEPS + 1, EVERY), {"over keys (right)": right, "over queries (wrong)": wrong},
    title="Does a wrong axis stop learning?", xlabel="step", ylabel="share of right answers",
    level=(1 / LETTERS, "guessing"),
)  # fmt: skip

# %% [markdown]
# It learns too. Yet it is not the papers' attention, and published weights would fail in it. That
# is why `check` compares values, not curves.

# %%
assert size() == "test" or wrong[-1] > 0.9
for name in ("right", "softmax over queries"):
    function = minivl_attention if name == "right" else variants[name].function
    sums = function(query, key, torch.eye(2)).sum(dim=-1)  # with these values, weights come out
    print(f"{name}: the weights of each query add up to {[round(s, 2) for s in sums.tolist()]}")

# %% [markdown]
# ## 7 · Paper, reference code, minivl
#
# Where sources differ, minivl follows what produced the published results.
#
# | | papers | reference code | minivl |
# |:--|:--|:--|:--|
# | mask | illegal scores become −∞ | SDPA, BERT: True or 1 may look; `nn.MultiheadAttention`, DETR: True is hidden | True may look |
# | norm | first transformer, BERT: after the sum; ViT: in the branch | as the papers | both: `norm="post"`, `norm="pre"` |
# | variance in the norm | squares divided by $w$ | LayerNorm by $w$; `x.var()` by $w - 1$ | LayerNorm |
# | query that sees nothing | not defined | plain softmax: NaN; SDPA of torch 2.15: 0 | 0 |

# %%
x = torch.tensor([[1.0, 3.0]])
for name, variance in (("divided by w", x.var(correction=0)), ("by w - 1", x.var())):
    same = torch.allclose(F.layer_norm(x, (2,)), (x - x.mean()) / variance.sqrt(), atol=1e-4)
    print(f"variance {name}: {'as' if same else 'not as'} LayerNorm")
print("a plain softmax of hidden scores:", torch.full((2,), -torch.inf).softmax(dim=0))

# %% [markdown]
# ## 8 · To discuss
#
# **Which family finds the picture for a sentence among a million?**
#
# <details><summary>An answer, and the experiment</summary>
#
# The dual encoder. Pictures are encoded once; a query costs one dot product each. A fusion encoder
# needs a pass for every pair. Measured in section 2: let the line of the fusion encoder go on to a
# million pictures. ALBEF takes both: its dual part proposes a few candidates, its fusion part reads
# those again (lessons 09 and 11).
#
# </details>
#
# **Which drawbacks of ViLBERT, CLIP and ALIGN do the three papers answer?**
#
# <details><summary>An answer, and where to look</summary>
#
# ViLBERT is made for pairs, not for a picture or a text alone. CLIP and ALIGN have no fusion, so
# questions about a picture are hard for them, and their data are private. FLAVA: all domains, public
# data. UniT: many labelled tasks in one set of weights. ALBEF: it aligns both sides before it fuses
# them, and it distils noisy web pairs. Look at the rows of both tables in section 2: which cells are
# empty?
#
# </details>
#
# **Does a wrong softmax axis stop learning?**
#
# <details><summary>An answer, and the experiment</summary>
#
# No, as section 6 measured: both axes learn the task. With the wrong axis a query's weights need
# not add up to 1, and each output depends on what the other tokens ask. That can cost: set PLACES to
# 30 and STEPS to 400, and compare the curves with a few seeds. Which axis learns first?
#
# </details>

# %% [markdown]
# **Stretch goal.** A model that writes must not see the future. Make its mask of shape $(t, t)$:
# changing the last token may change the last output only.


# %%
def causal_mask(tokens: int) -> Tensor | None:
    """True where a query may look: at itself and at what stands before it. (tokens, tokens)."""
    ...


if (causal := causal_mask(5)) is not None:
    before, after = torch.randn(2, 1, 1, 5, 8)
    after[..., :4, :] = before[..., :4, :]
    changed = attention(before, before, before, causal) != attention(after, after, after, causal)
    assert changed[0, 0].any(dim=-1).tolist() == [False] * 4 + [True]
    print("✓ the past does not see the future")

# %%
progress()

# %% [markdown]
# **Built:** attention, heads and the pre-norm block, as they run in every model of this course.
# **Seen:** three families, their timeline, and the scenes that you will train on. **Measured:** a
# search with two families, the spread of dot products, and a mistake that no curve shows.
#
# In the terminal: a picture of the data, and the first model made of your parts, in about three
# minutes on two CPU cores and half a gigabyte of memory. You will build it in lesson 05.
#
# ```
# minivl data preview
# minivl train clip --size tiny
# ```
