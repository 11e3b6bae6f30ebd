# %% [markdown]
# # 03 · Image tokenizer
#
# **The question: a sentence is made of words. What are the words of a picture?**
#
# BERT learns by guessing hidden words. BEiT and FLAVA do the same with pictures, and take their
# words from the discrete variational autoencoder (dVAE) of DALL-E. You build it, and ask if naming
# what is hidden teaches more than painting it. Five blanks, an hour and a half.

# %%
import math

import torch
from torch import Tensor

from minivl.course import check, hint, plugged, progress, size
from minivl.data.examples import SceneSource, to_tensor
from minivl.recipes.dvae import DvaeRecipe

# %% [markdown]
# ## 1. How many answers?
#
# What is hidden in "a dog on the ___"? One of BERT's 30,522 word pieces. And in a picture, cut into
# cells? **Guess** how many cells exist.

# %%
from minivl.evaluation.tokenizer import unseen
from minivl.visualize.patches import patch_sheet

recipe = DvaeRecipe.at_size("test" if size() == "test" else "tiny")
STEPS, PICTURES, SHORT, RUNS = (12, 16, 6, 1) if size() == "test" else (300, 256, 204, 1)
print(f"size {size()}" + (": a rehearsal, nothing is learned" if size() == "test" else ""))
source = SceneSource.load(recipe.data)
images = dict(unseen(source, PICTURES))["validation"]
cell = 2 ** (recipe.tokenizer.groups - 1)
values = cell * cell * 3
print(f"{values} colour values of 256 levels: 10^{values * math.log10(256):.0f} cells")
patch_sheet(images[0], cell)

# %% [markdown]
# Nobody can list them. But most look like many others: keep $k$ typical ones, the *codebook*. A cell
# is then one number of $k$, a **visual word**.
#
# ## 2. Encoder, codebook, decoder
#
# The *encoder* gives each cell a score $\ell_j$ for each code $j$. One code is chosen. The *decoder*
# sees only the chosen codes, and draws. **Guess:** how many times fewer bits are words than pixels?

# %%
torch.manual_seed(0)
model = recipe.build_model()
image = to_tensor(images[:1])
with torch.no_grad():
    scores, words = model.encode(image), model.tokenize(image)
    vectors = model.decoder.codebook(model.one_hot(words))
    drawn = model.decoder(model.one_hot(words))
parts = {"picture": image, "scores": scores, "words": words, "their vectors": vectors}
for name, x in (parts | {"drawn": drawn}).items():
    print(f"{name:14}{tuple(x.shape)}")
bits = words.numel() * math.log2(model.vocab_size)
print(f"{image.numel() * 8:,} bits of colours, {bits:,.0f} bits of words")

# %% [markdown]
# A code is a vector $e_j$. The codebook $e_1,\dots,e_k$ is the weight of the decoder's first
# convolution: one-hot times weight picks a column. Of the six channels drawn, three are colours,
# three say how sure they are.
#
# ## 3. A choice has no gradient
#
# Three codes have scores and prices (how bad their picture is). The largest score wins. **Predict**
# what we pay while the second score rises.

# %%
prices = [3, 1, 2]
for second in (1.0, 1.1, 1.19, 1.21, 1.3):
    chosen = int(torch.tensor([1.2, second, -0.5]).argmax())
    print(f"second score {second:.2f}: code {chosen}, price {prices[chosen]}")

# %% [markdown]
# A staircase: flat, then a jump. The slope is 0 wherever there is one.
#
# **First, draw.** With probabilities $q=\text{softmax}(\ell)$, the mean price is smooth in the
# scores. To draw a code, add *Gumbel noise* to each score and take the largest sum:
#
# $$g_j=-\ln(-\ln u_j),\qquad u_j\text{ uniform in }(0,1)$$

# %%
chances = torch.tensor([0.5, 0.3, 0.2])
torch.manual_seed(0)
noise = torch.distributions.Gumbel(0.0, 1.0).sample((100_000, 3))
torch.bincount((chances.log() + noise).argmax(dim=1)) / 100_000

# %% [markdown]
# **Then, soften.** In place of the largest, a softmax at temperature $\tau$:
#
# $$y_j=\frac{e^{(\ell_j+g_j)/\tau}}{\sum_i e^{(\ell_i+g_i)/\tau}}$$
#
# By hand: scores $\ln 3, 0$ and noise $-\ln 9, 0$ add to $-\ln 3, 0$. At $\tau=1$ the shares are as
# $\tfrac13$ to 1. At $\tau=\tfrac12$?
#
# Scores come as $(b,k,g_h,g_w)$. With `hard`, return one-hot, but with the gradient of $y$: the
# *straight-through* form.

# %% exercise minivl.nn.dvae.gumbel_softmax

# %% [markdown]
# **Predict** single draws at $\tau=4$ and at $\tau=\tfrac1{16}$. Which code is largest how often?
# Then move the slider.

# %%
from minivl.visualize.soft_draws import soft_draws, soft_draws_slider


def prepared(n):
    """Scores (n, 3, 1, 1) that learn, and uniform numbers alike, the same at every call."""
    u = torch.rand(n, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    return chances.log().reshape(1, 3, 1, 1).repeat(n, 1, 1, 1).requires_grad_(), u


def draw(tau):
    return gumbel_softmax(*prepared(2000), tau).detach().flatten(1).numpy()


display(soft_draws_slider(chances.tolist(), draw))
soft_draws(chances.tolist(), {tau: draw(tau) for tau in (4.0, 1.0, 1 / 16)})

# %% [markdown]
# The winners follow the chances at *every* temperature. Hot draws are blends, cold ones nearly one
# code. In use the decoder gets one code: why not train cold from the start? Compare gradients with
# the true one, of a drawn number that should be 1.

# %%
numbers = torch.tensor([0.0, 1.0, 3.0])
leaf = chances.log().requires_grad_()
(leaf.softmax(dim=0) @ (numbers - 1).square()).backward()
for hard in (False, True):
    for tau in (4.0, 1.0, 1 / 4, 1 / 16):
        given, u = prepared(4000)
        drawn = gumbel_softmax(given, u, tau, hard).flatten(1) @ numbers
        (drawn - 1).square().sum().backward()
        off = (given.grad.flatten(1).mean(dim=0) - leaf.grad).norm() / leaf.grad.norm()
        spread = given.grad.flatten(1).std(dim=0).norm() / leaf.grad.norm()
        print(f"hard {hard!s:6} temperature {tau:<7} off {off:4.2f}  spread {spread:5.2f}")

# %% [markdown]
# *Off*: how far the mean of 4,000 gradients is from the true one. *Spread*: how much single ones
# differ. Hot gradients are calm and wrong, cold ones nearly right on average, and wild. Hence
# **annealing**: begin hot, end cold. Straight-through shows the decoder what it will get, and pays
# with more spread.
#
# ## 4. Do not be sure too soon
#
# A code that is never drawn never learns to be useful. So DALL-E charges certainty, with $u$ uniform:
#
# $$\text{KL}(q\,\Vert\,u)=\sum_{j=1}^{k} q_j\,(\ln q_j+\ln k)$$

# %% [markdown]
# By hand, for two codes and $q=(\tfrac34,\tfrac14)$:
# $\tfrac34\ln\tfrac32+\tfrac14\ln\tfrac12\approx 0.131$. **Guess:** what does full certainty cost?

# %% exercise minivl.nn.dvae.kl_to_uniform

# %%
for name, q in {"even": [0.5, 0.5], "rather": [0.75, 0.25], "sure": [1 - 1e-9, 1e-9]}.items():
    print(f"{name:8}{float(kl_to_uniform(torch.tensor(q).log().reshape(1, 2, 1, 1))):.3f}")
print(f"untrained {float(kl_to_uniform(scores)):.3f}, of at most {math.log(model.vocab_size):.3f}")

# %% [markdown]
# $\ln k$, whichever code it is. So the KL does not ask that all codes be used: it asks a cell to keep
# several in play until a clear picture is worth the price.
#
# ## 5. How wrong is a colour?
#
# A Gaussian, the cause of squared error, also expects colours darker than black. The dVAE predicts
# $\text{logit}(x)=\ln\frac{x}{1-x}$, which takes colours in $(0,1)$ to all numbers. But black and
# white go to $\mp\infty$.

# %% [markdown]
# So $[0,1]$ is first squeezed into $[\varepsilon,1-\varepsilon]$, linearly, with $\varepsilon=0.1$: 0
# becomes 0.1, and 1 becomes 0.9. Where does 0.25 go?

# %% exercise minivl.nn.dvae.map_pixels

# %%
squeezed = map_pixels(torch.tensor([0.0, 0.25, 1.0]))
print(squeezed, torch.logit(squeezed))

# %% [markdown]
# Let $\text{logit}(x)$ have a Laplace density around $\mu$, of scale $s$; both are drawn for each pixel
# and colour. **Predict** its shape among colours, for small and large $s$.

# %%
from torch.distributions import Laplace, SigmoidTransform, TransformedDistribution

from minivl.visualize.lines import line_chart

x = torch.linspace(0.005, 0.995, 199)
settings = {"mu 0, s 1": (0.0, 1.0), "mu 0, s 0.3": (0.0, 0.3), "mu 1.5, s 0.3": (1.5, 0.3)}
curves = {
    name: TransformedDistribution(Laplace(mu, s), [SigmoidTransform()]).log_prob(x).exp().tolist()
    for name, (mu, s) in settings.items()
}
line_chart(x.tolist(), curves, title="Logit-Laplace", xlabel="colour x", ylabel="density")

# %% [markdown]
# The slope of the logit, $\frac{1}{x(1-x)}$, keeps the area at 1:
#
# $$f(x\mid\mu,s)=\frac{1}{2s\,x(1-x)}\,e^{-\left|\text{logit}(x)-\mu\right|/s}$$
#
# The loss is $-\ln f$. By hand, $x=\tfrac34$, $\mu=0$, $s=1$: the logit is $\ln 3$, so
# $f=\frac{16}{2\cdot 3\cdot 3}=\frac89$, and $-\ln f\approx 0.118$.

# %% exercise minivl.nn.dvae.logit_laplace_nll

# %% [markdown]
# **Can such a loss be negative?** Which scale is best, if $\text{logit}(x)$ misses $\mu$ by 0.5?

# %%
pixel, missed = torch.tensor(0.5).reshape(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.5)
for scale in (2.0, 1.0, 0.5, 0.25, 0.1):
    s = torch.full_like(pixel, scale).log()
    exact, off = (float(logit_laplace_nll(pixel, mu, s)) for mu in (0 * missed, missed))
    print(f"scale {scale:4}: {exact:5.2f} if exact, {off:5.2f} if missed by 0.5")

# %% [markdown]
# Yes: a density may exceed 1. The best scale is the miss itself.
#
# ## 6. Train it
#
# The loss: the mean of $-\ln f$ over colours, plus $\beta$ times the mean KL over cells. $\tau$ falls.
# $\beta$ rises from 0, for certainty buys nothing before a decoder can draw, to 1/48: a cell has 48
# colour values. **Predict:** what comes first, colours or outlines?

# %%
from dataclasses import replace

from minivl.course.train import fit
from minivl.data.stream import fetch, positions
from minivl.recipes.dvae_figures import Snapshots, over_temperature, over_training
from minivl.training.device import choose_device

device = choose_device()
model, few, snapshots, monitors = model.to(device), images[:5], Snapshots(), {}


def watch(step):
    monitors[step] = {name: float(value) for name, value in model.monitors.items()}
    if step in (STEPS // 3, STEPS // 2, STEPS):
        snapshots.add(model, few, device)


def trained(model, relaxation, batches, steps, **watched):
    """Train a tokenizer with your functions, at the recipe's learning rate."""
    plan, warmup = recipe.training, min(recipe.training.warmup_steps, steps // 6)
    how = {"lr": plan.lr, "optimizer": plan.optimizer, "warmup": warmup}
    how["schedules"] = relaxation.schedules(steps)
    with plugged(gumbel_softmax, kl_to_uniform, map_pixels, logit_laplace_nll):
        return fit(model, batches, steps, **how, **watched)


usual = replace(recipe.relaxation, kl_weight=1 / values)
stream = recipe.build_stream(source, seed=0)
batches = (fetch(stream, positions(i, stream.batch_size), 0).batch for i in range(STEPS))
trained(model, usual, batches, STEPS, every=STEPS // 6, watch=watch)
over_training(few, snapshots)

# %% [markdown]
# Flat blocks in a few loud shades come first, finer ones later. *Perplexity* tells how many codes do the work: $e^H$, with
# $H=-\sum_j p_j\ln p_j$ the entropy of how often each occurs. Four used evenly give 4.
#
# The trained decoder then gets soft draws again. **Predict** the hottest and the coldest pictures.

# %%
used = {name: [one[name] for one in monitors.values()] for name in ("codes_used", "perplexity")}
display(line_chart(list(monitors), used, title="Codes of a batch", xlabel="step", ylabel="codes"))
with torch.no_grad():
    figure = over_temperature(model, few[:4], device)
figure

# %% [markdown]
# ## 7. The frozen tokenizer
#
# Hot draws are pale blends, cold ones may pick wrong codes. In use nothing is noisy: each cell gets
# its likeliest code. Keep the grid.

# %% exercise minivl.nn.dvae.visual_tokens

# %%
from minivl.recipes.dvae_figures import code_tiles, named_pieces, redrawn
from minivl.visualize.picture_words import picture_words

model.requires_grad_(False)
with plugged(visual_tokens):
    words = model.tokenize(to_tensor(images).to(device)).cpu()
    tiles, again = code_tiles(model, device), redrawn(model, images[:1], device)
picture_words(images[0], words[0].numpy(), tiles, again[0])

# %% [markdown]
# A picture as BEiT and FLAVA want it. **Guess:** do a few codes do most of the work? Do codes stand
# for things?

# %%
from minivl.nn.dvae import code_shares
from minivl.visualize.codebook import code_examples, codebook_sheet

shares = code_shares(words, model.vocab_size).numpy()
examples = named_pieces(images, words.numpy(), shares, model.stride)
display(codebook_sheet(tiles, shares))
code_examples(tiles, *examples)

# %% [markdown]
# Use is uneven. Words are mostly shades, not dogs: a cell is too small for a thing, and the loss asked
# for none.
#
# Can it read other pictures? "twemoji" has an unseen artist, "photographs" no drawing.

# %%
from minivl.evaluation.tokenizer import measure

for kind, pictures in unseen(source, PICTURES):
    found = measure(model, pictures, device)
    psnr, codes = found["reconstruction/psnr"], found["codebook/perplexity"]
    error = f"{psnr['value']:4.1f} dB, mean colour alone {psnr['chance']:4.1f}"
    print(f"{kind:12} {error}; perplexity {codes['value']:.0f} of {model.vocab_size}")
    if size() != "test":
        assert psnr["value"] > psnr["chance"] + 2 and codes["value"] > 10

# %% [markdown]
# Now words are labels: no gradient, no second reading. At full size naming costs 1.5 times
# ViT-B/16's reading. So words are kept, by picture and crop.

# %%
from minivl.data.codes import CodeCache

cache, eight = CodeCache(model), to_tensor(images[:8]).to(device)
first = cache.tokens(range(8), [0] * 8, eight)
later = cache.tokens(range(8), [0] * 8, torch.zeros_like(eight))  # it does not even look
print(first.dtype, first.requires_grad, len(cache), torch.equal(first, later))

# %% [markdown]
# ## 8. Collapse
#
# What are the KL and the annealing good for? Three short trainings on small crops. **Predict** the
# perplexity of each.

# %%
some = fetch(stream, range(500), 0).batch["image"]
side = recipe.data.image_size // 2 // cell * cell


def crops():
    """Endless batches of crops, half as wide and high as the pictures."""
    draw = torch.Generator().manual_seed(0)
    while True:
        chosen = torch.randint(len(some), (32,), generator=draw)
        y, x = torch.randint(recipe.data.image_size - side + 1, (2,), generator=draw).tolist()
        yield {"image": some[chosen, :, y : y + side, x : x + side]}


# %%
ways = {
    "as above": usual,
    "no KL": replace(usual, kl_weight=0.0),
    "cold from the start": replace(usual, temperature=(usual.temperature[1],) * 2),
}
used = {}
for name, way in ways.items():
    torch.manual_seed(0)
    learner, used[name] = replace(recipe, relaxation=way).build_model().to(device), []

    def count(step, learner=learner, counted=used[name]):
        counted.append(float(learner.monitors["perplexity"]))

    trained(learner, way, crops(), SHORT, every=SHORT // 6, watch=count)
if size() != "test":
    assert sum(used["as above"]) == max(map(sum, used.values()))
steps = [SHORT // 6 * (i + 1) for i in range(6)]
line_chart(steps, used, title="Codes of a batch", xlabel="step", ylabel="perplexity")

# %% [markdown]
# <details><summary>Two ways to few codes</summary>
#
# Without the KL the encoder is sure at once, while the decoder can still draw nothing. The few codes
# that it happens to use are the only ones that learn; others join slowly. Cold from the start, each
# gradient rests on one code and is wild (section 3). Longer trainings can climb out of either hole:
# watch perplexity.
#
# </details>
#
# ## 9. Why classification rather than reconstruction?
#
# A transformer could paint hidden pixels, with squared error. Take a cell that is black in half of
# all such pictures, and white in the others. **Guess** the best shade to paint.

# %%
shades = torch.linspace(0, 1, 11)
cost = (shades.square() + (1 - shades).square()) / 2
print(f"squared error is least at shade {shades[cost.argmin()]:.1f}")

# %% [markdown]
# Grey, which is never right. A softmax can say "half black, half white". And pixels, says BEiT, reward
# fine texture near the hole.
#
# So much for arguments. The experiment: one small ViT, the same pictures, holes and steps, two
# targets. Each picture shows one of 48 things. Nobody tells the encoders which; afterwards a linear
# classifier and nearest neighbours ask them.

# %%
from functools import partial

from minivl.data.crop_data import CropData
from minivl.data.objects import ObjectData, ObjectSource
from minivl.models.mim import Mim
from minivl.models.mim_pixels import MimPixels

targets = {"paints pixels": MimPixels, "names words": partial(Mim, vocab_size=model.vocab_size)}
SIDE, THINGS, ASKED, MIM_STEPS = (16, 48, 16, 4) if size() == "test" else (32, 3000, 1024, 350)
things = ObjectSource.load(ObjectData(crops=CropData(global_size=SIDE, local_size=SIDE)))
(drawn, labels, _), (asked, truth, _) = (
    things.pictures(split, seed, n)
    for split, seed, n in (("train", 0, THINGS), ("validation", 1, ASKED))
)
seen, new = to_tensor(drawn).to(device), to_tensor(asked).to(device)
labels, truth = torch.tensor(labels).to(device), torch.tensor(truth).to(device)

# %%
from minivl.objectives.masking import blockwise_mask

GRID = SIDE // cell
HIDDEN = round(0.4 * GRID**2)
draws = torch.Generator().manual_seed(0)
holes = [blockwise_mask(GRID, GRID, HIDDEN, draws, HIDDEN // 5) for _ in range(256)]
holes = torch.stack(holes).to(device)
with plugged(visual_tokens):
    codes = torch.cat([model.tokenize(part) for part in seen.split(256)])


def holed(seed):
    """Endless batches of pictures with 40 % of their cells hidden, in blocks."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randint(len(seen), (48,), generator=draw)
        mask = holes[torch.randint(len(holes), (48,), generator=draw)]
        yield {"image": seen[chosen], "patches_masked": mask, "visual_tokens": codes[chosen]}


# %%
from minivl.evaluation.probe import knn_scores, linear_probe
from minivl.nn.vit import ViT
from minivl.visualize.probes import probe_bars


def encoder(seed):
    torch.manual_seed(seed)
    shape = {"image_size": SIDE, "patch_size": cell, "width": 64, "depth": 2, "heads": 4}
    return ViT(**shape, positions="sincos").to(device).eval()


@torch.no_grad()
def judge(vit, known=1500):
    """Shares of new pictures named rightly, from the mean state of their patches."""
    states = [
        torch.cat([vit(part)[:, 1:].mean(dim=1) for part in x.split(256)])
        for x in (seen[:known], new)
    ]
    asked = (states[0], labels[:known], states[1], len(things.names))
    scores = {"a linear probe": linear_probe(*asked), "20 neighbours": knn_scores(*asked)}
    return {name: float((x.argmax(dim=1) == truth).float().mean()) for name, x in scores.items()}


# %% [markdown]
# **Predict** the order: untrained, painting, naming.

# %%
found = {"untrained": [judge(encoder(seed)) for seed in range(RUNS)]}
for name, twin in targets.items():
    found[name] = []
    for seed in range(RUNS):
        learner = twin(encoder(seed)).to(device)
        fit(learner, holed(seed), MIM_STEPS, lr=1e-2, warmup=MIM_STEPS // 8, optimizer="muon")
        found[name].append(judge(learner.image_encoder))
for how in found["untrained"][0]:
    right = {name: [run[how] for run in runs] for name, runs in found.items()}
    if size() != "test":
        assert min(map(sum, right.values())) == sum(right["untrained"])
    display(probe_bars(right, chance=1 / len(things.names), title=f"Named rightly by {how}"))

# %% [markdown]
# Both learn. Among neighbours naming wins; a linear probe does not prefer it, for pixels come out
# about as well, or better. So it depends on who asks, and this is one run. And at full size?
#
# | | compares | finds |
# |---|---|---|
# | BEiT, table 4 | ViT-B, fine-tuned on ImageNet / ADE20K | words 82.86 / 44.65, pixels 81.04 / 41.38 |
# | MAE, section 4.1 | ViT-L, 75 % hidden, a decoder of its own | fine-tuned, words 0.4 above plain pixels, no better than normalised ones; by linear probe, worse |
#
# <details><summary>So why classification?</summary>
#
# In BEiT's design words won clearly. MAE showed that they are not the only way: with more hidden, a
# decoder of its own and normalised patches, pixels do as well, without a tokenizer that somebody must
# train first (DALL-E's on 250 million pictures). FLAVA has one more reason: with words, pictures and
# texts share one kind of loss, cross-entropy over a vocabulary, and masked multimodal modeling treats
# both alike. A small experiment decides none of this. It shows how to ask.
#
# </details>
#
# ## 10. One more question
#
# **Every cell of an even picture looks the same. Does each get the same word?** Guess, then look.

# %%
even = torch.full((1, 3, *images.shape[1:3]), 0.2).to(device)
model.tokenize(even).unique(return_counts=True)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Not where there is more than one word above. Convolutions see zeros beyond the edge, and a word is
# chosen with a look at the surroundings: the same 4 by 4 pixels can get another word in another
# place. That is why a crop is named as a whole, and why words are kept by picture *and* crop.
#
# </details>
#
# ## 11. Stretch
#
# Train with `straight_through=True` in the recipe's relaxation. Section 3 showed more spread. Does it
# collapse? Find a setting with which it does not. Or paint MAE's normalised patches, with
# `minivl.models.mim_pixels.MimPixels`: do they win here, too?
#
# ## 12. Full size
#
# At size `base` the next cell also takes twenty steps with DALL-E's networks: an estimated minute and
# 16 GB on a GPU.

# %%
from minivl.commands.runs import check_model

full = DvaeRecipe.at_size("base")
stage = full.stages(seed=0)[0]
giant = check_model(stage)  # shapes only: no number is drawn
for part in (giant.encoder, giant.decoder):
    print(f"{type(part).__name__}: {sum(p.numel() for p in part.parameters()):,} parameters")
print(f"{full.training.steps:,} steps of {full.training.batch_size}; {', '.join(stage.notes)}")
if size() == "base":
    giant, (big,) = stage.build_model().to(device), stage.build_streams()
    eights = (fetch(big, positions(i, 8), 0).batch for i in range(20))
    losses = trained(giant, full.relaxation, eights, 20)
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")

# %%
progress()

# %% [markdown]
# ## What you have now
#
# **Built:** a soft draw, the price of certainty, a density for colours, the words of a picture.
# **Seen:** a picture rebuilt from words; what each word draws; two ways to few codes.
# **Measured:** perplexity; reconstruction for an artist never seen; painting against naming.
#
# ```
# minivl train dvae --size tiny              # three minutes on two cores, and a report
# minivl train dvae --size base --dry-run    # its work and memory
# torchrun --nproc-per-node 8 -m minivl train dvae --size base --out runs/dvae
# ```
#
# Next, lesson 04: hide words of a sentence, and words of a picture, and guess them.
