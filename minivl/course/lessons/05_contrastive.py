# %% [markdown]
# # 05 · Contrastive
#
# **The question: a million pictures, one sentence. Which picture does it describe?**
#
# A network that looks at each pair would need a million passes. CLIP looks at every picture once,
# before anybody asks. You write the loss that makes this possible, train CLIP with it, and spread
# it over several processes. Four blanks, about an hour and a half.

# %%
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from minivl.course import check, hint, plugged, progress, size
from minivl.data.examples import SceneSource
from minivl.recipes.clip import ClipRecipe
from minivl.training.distributed import BothWays, rank, world_size

# %% [markdown]
# ## 1. What CLIP is told
#
# This picture came with this sentence. No classes, no boxes, nothing else.

# %%
from minivl.evaluation.pools import retrieval_pool
from minivl.visualize.scenes import contact_sheet

recipe = ClipRecipe.at_size("test" if size() == "test" else "tiny")
STEPS, POOL, PAIRS = (10, 32, 1_280) if size() == "test" else (500, 256, 9_600)
print(f"size {size()}" + (": a rehearsal, nothing is learned" if size() == "test" else ""))
source = SceneSource.load(recipe.data)
pool = retrieval_pool(source, "validation", POOL)
contact_sheet(pool.images[:4], pool.captions[:4])

# %% [markdown]
# One thought must do the rest: **the right sentence should be nearer than the wrong ones.** Wrong
# ones cost nothing: they belong to the other pictures of the batch.

# %% [markdown]
# ## 2. Near and far
#
# An image encoder turns picture $i$ into a vector $v_i$ of $d$ numbers, a text encoder turns
# sentence $j$ into $w_j$, also $d$ numbers. Only directions count:
#
# $$\ell_{ij} = e^{s}\,\frac{v_i\cdot w_j}{\lVert v_i\rVert\,\lVert w_j\rVert}$$
#
# The fraction is a cosine, from −1 to 1. $s$ is one learned number, and $e^s=1/\tau$ with the
# *temperature* $\tau$ of section 5. The *logits* $\ell$ are a matrix: a row for each of $n$
# pictures, a column for each of $m$ sentences.

# %% [markdown]
# Two pictures, three sentences, $d=2$, $s=0$. Work out the first row on paper: $v_1$ is 5 long.

# %%
image = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
text = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, -5.0]])
for v in image:
    print([round(float(v @ w / (v.norm() * w.norm())), 2) for w in text])

# %% exercise minivl.objectives.contrastive.similarity_logits

# %% [markdown]
# ## 3. The loss
#
# A batch holds $n$ pairs. So $\ell$ is $n\times n$, with the true pairs on its diagonal. Read it
# twice: by rows and by columns.

# %%
from minivl.visualize.directions import two_directions

logits = torch.tensor([[3.0, 3.0], [1.0, 1.0]]).log()
two_directions(logits.numpy())

# %% [markdown]
# These logits are $\ln 3$ and $0$, so $e^{\ell}$ is 3 and 1, and paper suffices. Row 1: 3 of 3 + 3.
# Column 2: 1 of 3 + 1.

# %% [markdown]
# $$L=\frac12\Big[-\frac1n\sum_{i=1}^{n}\ln\frac{e^{\ell_{ii}}}{\sum_{j=1}^{n}e^{\ell_{ij}}}
# -\frac1n\sum_{i=1}^{n}\ln\frac{e^{\ell_{ii}}}{\sum_{j=1}^{n}e^{\ell_{ji}}}\Big]$$
#
# This is *InfoNCE*: the cross-entropy of the rows and that of the columns, averaged. The right
# answer of number $i$ is $i$.

# %%
framed = torch.tensor([1 / 2, 1 / 2, 3 / 4, 1 / 4])  # two rows, two columns
float(-framed.log().mean())

# %% exercise minivl.objectives.contrastive.info_nce

# %% [markdown]
# Guess before you run. What does a model pay that knows nothing, so that all logits are equal, with
# 2, 8 and 128 pairs? And which logits does the gradient push up?

# %%
print([round(float(info_nce(torch.zeros(n, n))), 3) for n in (2, 8, 128)])
leaf = logits.clone().requires_grad_()
info_nce(leaf).backward()
leaf.grad

# %% [markdown]
# $\ln n$: a loss that stays there has not begun to learn. Training walks against the gradient, so
# true pairs, on the diagonal, are pulled together and wrong ones pushed apart. How hard? With
# $p_{ij}$ the softmax of row $i$ and $q_{ij}$ that of column $j$:
#
# $$\frac{\partial L}{\partial\ell_{ij}}=\frac{p_{ij}+q_{ij}}{2n}\quad(i\neq j),\qquad
# \frac{\partial L}{\partial\ell_{ii}}=\frac{p_{ii}+q_{ii}-2}{2n}$$
#
# A wrong pair is pushed as hard as it is believed. Check one number with the picture above.

# %% [markdown]
# ## 4. Train CLIP with it
#
# The model is that of `minivl train clip --size tiny`. Inside `plugged`, minivl calls *your*
# functions. We watch two pools of new pictures: by artists that training knows, and by one that it
# never sees.

# %%
from minivl.data.stream import fetch, positions
from minivl.evaluation.contrastive import Judge
from minivl.training.device import choose_device

torch.manual_seed(0)
device = choose_device()
model = recipe.build_model(source.text).to(device)
stream = recipe.build_stream(source, seed=0)
batches = (fetch(stream, positions(k, stream.batch_size), 0).batch for k in range(STEPS))
judge = Judge(model, source, device)
pools = {"known artists": pool, "an artist never seen": retrieval_pool(source, "twemoji", POOL)}
cosines = {name: {} for name in pools}  # name -> step -> matrix


def watch(step):
    for name, asked in pools.items():
        cosines[name][step] = judge.similarity(asked).cpu()


watch(0)

# %% [markdown]
# **Predict** how the matrix looks before training, and which share of pictures finds its sentence
# by luck. Then train: about a minute on two cores.

# %%
from minivl.course.train import fit

with plugged(similarity_logits, info_nce):
    losses = fit(
        model, batches, STEPS, lr=1.5e-3, warmup=STEPS // 12, every=STEPS // 10, watch=watch
    )

# %%
from minivl.visualize.sharpening import sharpening

moments = {"before": 0, "after a tenth": STEPS // 10, "at the end": STEPS}
few = {name: cosines["known artists"][step][:8, :8].numpy() for name, step in moments.items()}
sharpening(few, pool.images[:8])

# %% [markdown]
# Before, every sentence is about as near as any other. Then the diagonal lights up. *R@1* is the
# share of pictures whose nearest sentence, of all in the pool, is the true one.

# %%
from minivl.evaluation.retrieval import recall_at_k, relevance
from minivl.visualize.curves import contrastive_level
from minivl.visualize.recall import learning

recalls = {}
for name, asked in pools.items():
    true = relevance(asked.captions, asked.captions)
    measured = {step: recall_at_k(matrix, true, 1)[0] for step, matrix in cosines[name].items()}
    recalls[name] = {step: metric.value for step, metric in measured.items()}
chance, known, unseen = (measured[0].chance, *(one[STEPS] for one in recalls.values()))
if size() != "test":  # where nothing is learned
    assert known > unseen > 20 * chance and losses[-1] < losses[0] / 2
learning(losses, recalls, level=contrastive_level(stream.batch_size), chance=chance)

# %% [markdown]
# Both end far above chance, and known hands are read better than a new one. Point at pictures: what
# are the bets, and what do mistakes share with the truth?

# %%
from minivl.visualize.similarity_viewer import similarity_viewer

tau = 1 / model.logit_scale.exp().item()
final = cosines["known artists"][STEPS].numpy()
viewer = similarity_viewer(final, pool.images, pool.captions, temperature=tau)
display(viewer)
viewer.still  # the same, for where scripts do not run

# %% [markdown]
# ## 5. Temperature
#
# These bets are $p_j=e^{c_j/\tau}/\sum_k e^{c_k/\tau}$, where $c_j$ is the cosine of the picture
# and sentence $j$. Why not simply $\tau=1$? **Predict** the bars at 1 and at 0.01, then move the
# slider.

# %%
from minivl.visualize.temperature import row_at_temperatures, temperature_slider

row = (pool.images[0], pool.captions, final[0], 0)
display(temperature_slider(*row, start=0.07))
row_at_temperatures(*row, temperatures=[1.0, 0.07, 0.01])

# %% [markdown]
# Cosines live between −1 and 1. Take a perfect model: 1 for the truth, −1 for 255 wrong sentences.
# What can it bet at most?

# %%
perfect = torch.tensor([1.0] + 255 * [-1.0])
for one in (1.0, 0.07):
    print(f"temperature {one}: {(perfect / one).softmax(0)[0]:.3f} on the truth")
print(f"1/tau of CLIP: {1 / 0.07:.1f} at the start, {1 / tau:.1f} now")

# %% [markdown]
# So logits need a scale, and CLIP learns it: $s$ starts at $\ln(1/0.07)$. Being a logarithm, it
# may take any value. `minivl.objectives.contrastive.clamp_logit_scale` keeps $e^s$ between 1
# and 100.

# %% [markdown]
# ## 6. Batch size
#
# Does a larger batch teach more, if the number of *pairs read* stays the same? A toy answers in
# seconds: things of 16 hidden numbers, each seen through two noisy instruments.

# %%
draw = torch.Generator().manual_seed(0)
THINGS = torch.randn(PAIRS + 500, 16, generator=draw)
LENSES = torch.randn(2, 16, 32, generator=draw) / 4


def two_views(names, seed):
    """names (k,): which things -> (2, k, 32), each thing seen twice."""
    noise = torch.randn(2, len(names), 32, generator=torch.Generator().manual_seed(seed))
    return torch.tanh(THINGS[names] @ LENSES) + 0.3 * noise


def one_right_answer(logits, names):
    return info_nce(logits)


# %%
def toy(names, batch=64, tau=0.07, loss=one_right_answer, seed=0):
    """R@1 among 500 new things, after two small networks read two views of the named things."""
    draw = torch.Generator().manual_seed(seed)
    first = (torch.randn(2, 32, 64, generator=draw) / 32**0.5).requires_grad_()
    second = (torch.randn(2, 64, 16, generator=draw) / 64**0.5).requires_grad_()
    rate = 4e-3 * (batch / 32) ** 0.5  # fewer steps, larger steps
    optimizer = torch.optim.Adam([first, second], lr=rate)
    scale = torch.tensor(1 / tau).log()

    def compare(views):
        image, text = torch.relu(views @ first) @ second
        return similarity_logits(image, text, scale)

    views = two_views(names, seed)
    for part in torch.arange(len(names)).split(batch):
        optimizer.zero_grad()
        loss(compare(views[:, part]), names[part]).backward()
        optimizer.step()
    new = two_views(torch.arange(PAIRS, PAIRS + 500), seed=10**6)
    return float((compare(new).argmax(dim=1) == torch.arange(500)).double().mean())


# %% [markdown]
# **Predict** the curve. The smallest batch takes 64 times as many steps as the largest.

# %%
from minivl.visualize.recall import recall_against

torch.set_num_threads(1)  # matrices this small only wait for a second core
everything, sizes = torch.arange(PAIRS), [2, 8, 32, 128]
by_batch = [[toy(everything, batch=n, seed=seed) for seed in (1, 2)] for n in sizes]
if size() != "test":
    assert sum(by_batch[0]) < sum(by_batch[1]) < sum(by_batch[3])
recall_against("batch size", sizes, {"toy": by_batch}, chance=1 / 500)

# %% [markdown]
# <details><summary>Why?</summary>
#
# In a batch of two, the one wrong sentence is usually about something else altogether, and a coarse
# feature tells it from the right one. Among 128 some wrong ones are close, and only finer features
# help. Chance says the same: a guesser's loss is $\ln n$, so a larger batch asks for more bits from
# each pair. The gain shrinks as batches grow.
#
# </details>
#
# ## 7. Several processes
#
# So batches should be large. CLIP's hold 32,768 pairs, spread over many GPUs: $n$ pairs in each of
# $W$ processes. A process is called a *rank*, counted from 0. What may it compare?

# %%
from minivl.visualize.rank_shares import rank_shares

rank_shares()

# %% [markdown]
# *Local* loss: own pictures, own sentences. However many ranks there are, a picture meets $n-1$
# wrong sentences.
#
# *Global* loss (FLAVA): the *vectors* of all ranks are gathered, $Wn$ rows of $d$ numbers, and a
# rank compares its own rows with all. That is cheap to send: a vector of CLIP has 512 numbers, a
# picture 3 · 224 · 224. Hatched: own sentences against all pictures. Look at the labels of rank 1!

# %% exercise minivl.objectives.contrastive.global_info_nce

# %% [markdown]
# Two ranks in one notebook: `run_ranks` calls a function once a rank, in threads that answer
# `torch.distributed`. Two pairs each, $d=3$. And the classic mistake: labels from 0 everywhere.

# %%
from minivl.course.ranks import run_ranks

draw = torch.Generator().manual_seed(1)
image, text = torch.randn(2, 4, 3, generator=draw, dtype=torch.float64)
scale = torch.tensor(3.0, dtype=torch.float64).log()
parts = list(zip(image.split(2), text.split(2), strict=True))


def both_ways(my_image, my_text):
    right = global_info_nce(my_image, my_text, image, text, rank(), scale)
    return right, global_info_nce(my_image, my_text, image, text, 0, scale)


right, wrong = (torch.stack(one) for one in zip(*run_ranks(both_ways, parts), strict=True))
joint = info_nce(similarity_logits(image, text, scale))
print("rank 0 and 1:   ", [round(float(one), 3) for one in right])
print("without offset: ", [round(float(one), 3) for one in wrong])
print(f"mean of the ranks {right.mean():.6f}, joint batch {joint:.6f}")
assert torch.allclose(right.mean(), joint)

# %% [markdown]
# The mean over the ranks *is* the loss of the joint batch. Rank 0 alone would never show the
# mistake: on rank 1, pictures were taught the sentences of strangers.

# %% [markdown]
# ### And backwards
#
# Plain `dist.all_gather` returns copies without history. But $v_i$ of rank 0 is also a wrong answer
# in rank 1's loss, and should learn from it. With `BothWays` you write the way back yourself:

# %%
x = torch.ones(3, requires_grad=True)
y = BothWays.apply(x, lambda x: x.clone(), lambda gradient: 2 * gradient)  # x, there, back
y.sum().backward()
x.grad

# %% [markdown]
# There: $x\to y$. Back: the gradient of $y$ comes in, that of $x$ goes out; here it was doubled.
#
# Your rule. There: the rows of all ranks, in order. Back: **first sum** the whole gradient over all
# ranks, then keep *my* rows. `dist.all_gather(parts, x)` fills a list, `dist.all_reduce(x)` sums in
# place; both return nothing.

# %% exercise minivl.training.distributed.gather_with_grad

# %% [markdown]
# Why the sum, not the mean? DistributedDataParallel averages already. With $\theta$ the weights,
# the same on each rank, and $L_r$ the loss of rank $r$, it walks along
#
# $$g=\frac1W\sum_{r=0}^{W-1}\frac{\partial L_r}{\partial\theta}$$
#
# Is this the gradient of the joint batch? One linear encoder $\theta$ ($3\times3$), four ways:


# %%
def copies(x):  # plain all_gather
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.detach())
    return torch.cat(parts)


def own_slot(x):  # copies of the others, own rows with their history
    parts = list(copies(x).split(len(x)))
    parts[rank()] = x
    return torch.cat(parts)


def own_rows(v, w, gather):
    return global_info_nce(v, w, gather(v), gather(w), rank(), scale)


def whole_matrix(v, w, gather):
    return info_nce(similarity_logits(gather(v), gather(w), scale))


# %%
def gradient_of(loss, gather, my_image, my_text):
    weights = theta.clone().requires_grad_()
    loss(my_image @ weights, my_text @ weights, gather).backward()
    return weights.grad


theta = torch.randn(3, 3, generator=draw, dtype=torch.float64)
true = gradient_of(whole_matrix, lambda x: x, image, text)  # one process, the joint batch
for name, *way in (
    ("local loss", whole_matrix, lambda x: x),
    ("copies, own rows", own_rows, copies),
    ("own slot, whole matrix", whole_matrix, own_slot),
    ("with gradient, own rows", own_rows, gather_with_grad),
):
    g = torch.stack(run_ranks(gradient_of, [(*way, *part) for part in parts])).mean(dim=0)
    turned = F.cosine_similarity(g.flatten(), true.flatten(), dim=0).clamp(-1, 1).acos().rad2deg()
    print(f"{name:24} length {g.norm() / true.norm():.3f} of the true, turned {turned:3.0f}°")
assert torch.allclose(g, true)

# %% [markdown]
# Only your way gives the gradient of the joint batch. The first two point elsewhere. The third,
# open_clip's default, is $1/W$ of the true one. Adam hardly notices a factor, but clipping does,
# and so does the balance with other losses.
#
# ## 8. Paper, code, minivl
#
# | | scale | starts at | kept in | across GPUs |
# |---|---|---|---|---|
# | CLIP, paper | $e^s$ | 1/0.07 | up to 100 | each GPU its part of the matrix |
# | OpenAI's code | $e^s$ | 1/0.07 | | no training in it |
# | open_clip | $e^s$ | 1/0.07 | 1 to 100, after the step | gathered, own slot; the others are options |
# | FLAVA | $e^s$ | 1/0.07 | 1 to 100, before the loss | gathered with gradient, own rows |
# | ALBEF | $1/\tau$ | 1/0.07 | $\tau$ from 0.001 to 0.5 | own rows against a queue, constant |
# | minivl | $e^s$ | 1/0.07 | 1 to 100, after the step | gathered with gradient, own rows |
#
# All normalise both sides first.

# %% [markdown]
# ## 9. Two questions
#
# **A. What does a wrong temperature cost?** Which wrong sentences push at $\tau=0.01$, which at
# $\tau=1$?
#
# <details><summary>Answer</summary>
#
# A wrong sentence pushes as hard as it is believed. At 0.01 only the very nearest is: all learning
# hangs on a few pairs, which may be noise. At 1 all push alike, near or far, and fine differences
# are never learned. Between them lies a broad top, and CLIP finds its own place there by learning
# $s$. The experiment:
#
# </details>

# %%
temperatures = [0.01, 0.03, 0.1, 0.3, 1.0]
by_tau = [[toy(everything, tau=one, seed=seed) for seed in (1, 2)] for one in temperatures]
if size() != "test":
    assert sum(by_tau[2]) > max(sum(by_tau[0]), sum(by_tau[-1]))
recall_against("temperature", temperatures, {"toy": by_tau}, chance=1 / 500)

# %% [markdown]
# **B. A batch holds one picture twice, with two sentences that are both true. What does InfoNCE do
# to the weights?** Guess, then compare with fair targets that share the bet among all true ones.


# %%
def shared_targets(logits, names):
    """names (n,): rows and columns of equal name belong together."""
    same = (names[:, None] == names[None, :]).to(logits.dtype)
    target = same / same.sum(dim=1, keepdim=True)
    rows, columns = logits.log_softmax(dim=1), logits.T.log_softmax(dim=1)
    return -(target * (rows + columns)).sum(dim=1).mean() / 2


names, gradients = torch.tensor([0, 0, 1, 2]), []
twice = image[names]  # picture 0 with sentences 0 and 1
for loss in (one_right_answer, shared_targets):
    weights = theta.clone().requires_grad_()
    value = loss(similarity_logits(twice @ weights, text @ weights, scale), names)
    gradients += torch.autograd.grad(value, weights)
    print(f"{loss.__name__:17} loss {value:.4f}, length of the gradient {gradients[-1].norm():.6f}")
assert torch.allclose(*gradients)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Exactly the same! Two rows of one picture have equal logits. Their labels say "the first" and "the
# second", which is together "half and half", as fair targets say. The mistake cancels because
# *both* pairs are in the batch. It does not where only one side is: in a queue of old sentences
# (lesson 09), or when a true pair is drawn as a hard wrong one (lesson 06).
#
# </details>
#
# And two *different* pictures of one thing? In each batch of 64, some of the toy's pairs now show a
# thing again, through new noise.


# %%
def with_duplicates(share, batch=64):
    """The names 0 to PAIRS - 1, but in each batch the last ones repeat the first ones."""
    distinct = batch - round(share * batch)
    return everything.view(-1, batch)[:, torch.arange(batch) % distinct].flatten()


shares = [0, 0.25, 0.5, 0.75]
by_share = {
    label: [[toy(with_duplicates(q), loss=loss, seed=seed) for seed in (1, 2)] for q in shares]
    for label, loss in (("one right answer", one_right_answer), ("shared", shared_targets))
}
if size() != "test":
    assert all(sum(measured[-1]) < sum(measured[0]) for measured in by_share.values())
recall_against("share of duplicates", shares, by_share, chance=1 / 500, log=False)

# %% [markdown]
# Both fall, and alike: a batch lost its variety. Fair targets do not bring it back.
#
# ## 10. Stretch: a large batch in a small memory
#
# Compute the gradient of `info_nce` for 512 pairs while encoding only 64 at a time. Gradient
# accumulation does *not* do it: each part would see only its own 63 wrong sentences.
#
# <details><summary>Idea</summary>
#
# Encode all parts without a graph. Compute the loss from the stored vectors, and its gradient for
# each vector. Then encode each part again, with a graph, and call `vectors.backward(gradient)` with
# its rows of that gradient. Twice the forward passes, a fraction of the memory (Gao et al. 2021,
# arXiv 2101.06983). Test: the gradient of the weights equals that of one large batch.
#
# </details>
#
# ## 11. Full size
#
# At size `base` the next cell also takes a hundred steps of 128 pairs with the full model: an
# estimated five minutes and 16 GB on a GPU.

# %%
from minivl.commands.runs import check_model

full = ClipRecipe.at_size("base")
stage = full.stages(seed=0)[0]
giant = check_model(stage)  # shapes only: no number is drawn
parameters = sum(p.numel() for p in giant.parameters())
steps, batch = full.training.steps, full.training.batch_size
print(f"ViT-B/16 and a text tower with BERT's words: {parameters / 1e6:.0f} million parameters")
print(f"{steps * batch / 1e9:.1f} billion pairs; {', '.join(stage.notes)}")
if size() == "base":
    giant, (big,) = stage.build_model().to(device), stage.build_streams()
    some = (fetch(big, positions(k, 128), 0).batch for k in range(100))
    with plugged(similarity_logits, info_nce):
        losses = fit(giant, some, 100, lr=full.training.lr, warmup=50)
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")

# %%
progress()

# %% [markdown]
# ## What you have now
#
# **Built:** similarity logits, InfoNCE, its global form, a gather that learns.
# **Seen:** a diagonal that lights up; one row at many temperatures; labels that point at strangers.
# **Measured:** R@1 far above chance, for a new artist too; larger batches teach more, with shrinking
# gains; two ranks with exactly the gradient of one.
#
# ```
# minivl train clip --size tiny              # three minutes on two cores, and a report
# minivl train clip --size base --dry-run    # days on many GPUs: its work and memory
# torchrun --nproc-per-node 8 -m minivl train clip --size base --out runs/clip
# ```
#
# Next, lesson 06: do *these two* belong together, and which wrong pairs teach most?
