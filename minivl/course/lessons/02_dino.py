# %% [markdown]
# # 02 · DINO
#
# **The question: nobody ever says what is in a picture. Can a network still learn to see?**
#
# DINO does, and while nobody asks it to, it finds things and their borders. You write its four small
# parts, train it in a minute, break it in two ways on purpose, and score where it looks. Four
# blanks, about an hour and a half.

# %%
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from minivl.course import check, hint, plugged, progress, size
from minivl.recipes.dino import DinoRecipe

# %% [markdown]
# ## 1. The data label themselves
#
# *Self-supervision*: the task comes from the data. Cut a picture into pieces, change their colours.
# One thing is certain: **these pieces show the same thing.**

# %%
from minivl.data.objects import ObjectSource
from minivl.training.device import choose_device

TEST, device = size() == "test", choose_device()
print(f"size {size()}" + (": a rehearsal, nothing is learned" if TEST else ""))
recipe = DinoRecipe.at_size("test" if TEST else "tiny")
STEPS, SHORT, SHOWN = (10, 8, 3) if TEST else (500, 64, 4)
recipe = replace(
    recipe,
    backbone=replace(recipe.backbone, depth=min(2, recipe.backbone.depth)),
    training=replace(recipe.training, steps=STEPS),
)
source = ObjectSource.load(recipe.data)

# %% [markdown]
# *Multi-crop*: two large *global* crops, some small *local* ones, each with other colours. **Predict:**
# could you name the thing from a local crop alone?

# %%
from minivl.data.crops import crop_boxes
from minivl.visualize.crops import crop_sheet

examples = source.examples("train", seed=0)
some, cut = [examples[i] for i in range(3)], recipe.data.crops
crops, draws = examples.collate(some), torch.stack([torch.tensor(one["draws"]) for one in some])
images, side = [one["image"] for one in some], some[0]["image"].shape[:2]
frames = [
    crop_boxes(draws[:, :2], cut.global_scale, side),
    crop_boxes(draws[:, 2:], cut.local_scale, side),
]
crop_sheet(images, crops["global_crops"], crops["local_crops"], *frames)

# %% [markdown]
# Often you can, because you know the whole. That is the task: say of a **part** what is said of the
# **whole**, *local-to-global*. Colours, mirroring and place change from crop to crop. What a thing is
# does not, so that is worth learning.

# %% [markdown]
# ## 2. Student and teacher
#
# Say *what*? There are no names. *Distillation* trains a student to answer like a
# teacher. In **self**-distillation the teacher is made of the student.

# %%
from minivl.visualize.distillation import distillation

distillation()

# %% [markdown]
# Both are an encoder, the ViT of lesson 01, and a *head*: three layers on the class token that end in
# $k$ numbers, the *logits*. Softmax makes them shares of $k$ *outputs*. Nobody says what an output
# stands for. After training the head is thrown away.

# %%
torch.manual_seed(0)
model, OUTPUTS = recipe.build_model(len(source.names)), recipe.head.outputs
for name, part in model.student.named_children():
    print(f"{name}: {sum(p.numel() for p in part.parameters()):,} numbers")
with torch.no_grad():
    print("crops, pictures, outputs:", *model.teacher(crops["global_crops"]).shape)

# %% [markdown]
# ## 3. What the teacher says
#
# Its answer to crop $i$, with logits $g_i$, a *centre* $c$ of $k$ numbers, and a low *temperature*
# $\tau_t$:
#
# $$P_i=\mathrm{softmax}\!\left(\frac{g_i-c}{\tau_t}\right)$$
#
# Why both? **Predict** what a low temperature does to logits $\ln 3$ and $0$, whose softmax is 3 to 1.

# %%
weights = torch.tensor([3.0, 1.0])  # e to the logits
for tau in (1, 1 / 2, 1 / 4):
    sharper = weights ** (1 / tau)
    print(f"temperature {tau:4}: {sharper[0] / sharper.sum():.2f} for the larger")

# %% [markdown]
# *Sharpening*: the larger wins more. *Centring* is the counterweight: $c$ is what the teacher says on
# average. With $c=(\ln 3,0)$ both are even. No gradient may reach the answer.

# %% exercise minivl.objectives.dino.teacher_probabilities

# %% [markdown]
# ## 4. What the student pays
#
# The student sees all $v$ crops; its answer to crop $j$ is $S_j$, at a temperature $\tau_s$ of its
# own. Which pairs of teacher's crop and student's crop should count? **Decide** for each of the
# eight before you run.

# %%
from minivl.visualize.numbers import Grid, number_grids

pairs = torch.ones(2, 4).fill_diagonal_(0)
rows, columns = (
    ["teacher, global 1", "teacher, global 2"],
    ["glob. 1", "glob. 2", "loc. 1", "loc. 2"],
)
number_grids([Grid("1: this pair counts", pairs, rows, columns)], title="Which pairs count")

# %% [markdown]
# Not those of a crop with itself: two nearly equal networks agree there without looking. For the
# others, the cross-entropy, averaged over pairs and batch:
#
# $$L=\frac{1}{2(v-1)}\sum_{i=1}^{2}\;\sum_{j\neq i}\;-\sum_k P_{i,k}\ln S_{j,k}$$
#
# One pair by hand: the teacher is sure to three quarters, three students answer.

# %%
believed = torch.tensor([0.75, 0.25])
for answer in ([0.5, 0.5], [0.75, 0.25], [0.25, 0.75]):
    cost = -(believed * torch.tensor(answer).log()).sum()
    print(f"student {answer}: {cost:.3f}")

# %% [markdown]
# The first pays $\ln 2$: it has no opinion, and pays that whatever the teacher believes. Agreement
# is cheapest, but not free: what remains is the teacher's own doubt.

# %% exercise minivl.objectives.dino.dino_loss

# %% [markdown]
# ## 5. What the teacher says of everything
#
# The centre follows the teacher's raw logits, slowly. Of $n$ answers $g$ in a batch:
#
# $$c\leftarrow m\,c+(1-m)\,\frac1n\sum_g g$$
#
# An output that wins for every picture gets a large $c$, and loses its lead. **Predict** the centre
# after one step from $(1,1)$ with $m=0.9$, when the mean of the batch is $(3,1)$: `check` knows.

# %% exercise minivl.objectives.dino.update_center

# %% [markdown]
# ## 6. How the teacher learns
#
# Not by gradient. After each step each weight moves a little towards the student's:
#
# $$\theta_t\leftarrow m\,\theta_t+(1-m)\,\theta_s$$
#
# A running mean (*EMA*) over many students is steadier than any of them. **Predict:** after how many
# steps is half of an old weight forgotten?

# %%
import math

for m in (0.95, 0.996):
    print(f"m = {m}: half forgotten after {math.log(0.5) / math.log(m):.0f} steps")

# %% [markdown]
# The paper's 0.996 suits long trainings; ours begins at 0.95. Both rise to 1, so that the teacher
# settles. Change the teacher **in place**: it must stay the same tensors.

# %% exercise minivl.objectives.momentum.ema_update

# %% [markdown]
# ## 7. Train
#
# The loss tells little: its goal moves with the teacher. Watch two entropies
# $H(p)=-\sum_k p_k\ln p_k$ of the teacher: of each answer, and of the mean answer.

# %%
from minivl.course.train import fit
from minivl.data.stream import fetch, positions


def train(recipe, steps, every, watch=lambda model, step: None):
    """(model, losses, monitors every few steps); watch(model, step) is called as often."""
    torch.manual_seed(0)
    source = ObjectSource.load(recipe.data)
    model, lines = recipe.build_model(len(source.names)).to(device), []
    stream, plan = recipe.build_stream(source, seed=0), recipe.training
    batches = (fetch(stream, positions(k, stream.batch_size), 0).batch for k in range(steps))

    def note(step):
        monitors = getattr(model, "monitors", {})
        lines.append({"step": step} | {name: float(value) for name, value in monitors.items()})
        watch(model, step)

    losses = fit(
        model, batches, steps, lr=plan.lr, warmup=min(plan.warmup_steps, steps // 4),
        optimizer=plan.optimizer, every=every, watch=note,
        schedules=recipe.schedules() if recipe.objective == "dino" else None,
    )  # fmt: skip
    return model, losses, lines


# %% [markdown]
# And an exam, for us alone, on new pictures: the 20 nearest of known name vote (*k-NN*). Your four
# functions train, about a minute on two cores.

# %%
from minivl.recipes.dino_figures import Diary
from minivl.visualize.collapse import collapse_curves

diary = Diary(source, recipe.build_untrained, recipe.evaluation)


def examine(model, step):
    if step % (STEPS // 5) == 0:
        diary.evaluate(model, device)


with plugged(teacher_probabilities, dino_loss, update_center, ema_update):
    model, losses, lines = train(recipe, STEPS, every=STEPS // 50 or 1, watch=examine)
collapse_curves({"DINO": lines}, OUTPUTS)

# %% [markdown]
# Single answers become sure, while all together still use many outputs. The difference, the *mutual
# information*, is how much an answer tells of its picture. It grew.

# %%
for split in ("validation", "twemoji"):
    none, pixels, dino, linear = (
        diary.metrics[STEPS][f"{split}/{name}"]
        for name in ("knn/accuracy_untrained", "knn/accuracy_raw_pixels", "knn/accuracy",
                     "linear/accuracy")
    )  # fmt: skip
    print(f"{split:10} k-NN: untrained {none.value:.0%}, DINO {dino.value:.0%}, raw pixels "
          f"{pixels.value:.0%}; linear probe {linear.value:.0%}; chance {none.chance:.0%}")  # fmt: skip
    assert TEST or dino.value > none.value + 0.1

# %% [markdown]
# "twemoji" is an artist that training never saw. A *linear probe* is one linear layer, trained with
# names on frozen vectors. What the vectors know, pictures alone have taught.

# %%
from minivl.visualize.lines import line_chart

curves = {}
for name, split in (("known artists", "validation"), ("unseen artist", "twemoji")):
    start = diary.metrics[STEPS][f"{split}/knn/accuracy_untrained"]
    after = [metrics[f"{split}/knn/accuracy"] for metrics in diary.metrics.values()]
    curves[name] = [100 * metric.value for metric in (start, *after)]
line_chart([0, *diary.metrics], curves, title="k-NN while it learns", xlabel="step",
           ylabel="per cent named")  # fmt: skip

# %% [markdown]
# Far above the untrained encoder. Yet bare pixels are a strong rival in so small a world, where each
# artist drew each thing once and backgrounds are even. Section 9 has a longer run that passes them.

# %% [markdown]
# ## 8. Break it
#
# Why is the simplest answer not "always output 7"? Student and teacher would agree perfectly.
# Three teachers, four pictures, $k=4$. **Predict** both entropies for each.

# %%
from minivl.objectives.dino import entropy

alike, own = torch.full((4, 4), 0.25), torch.eye(4)
for name, answers in (("all alike", alike), ("one wins", own[[2] * 4]), ("each its own", own)):
    each, mean = entropy(answers).mean(), entropy(answers.mean(dim=0))
    print(f"{name:13} of an answer {each:.2f}, of the mean {mean:.2f}, tells {mean - each:.2f}")

# %% [markdown]
# Both *collapses* tell nothing: the difference is 0. They differ in the entropy: $\ln k$ or 0.
# Equally, in the distance (KL) of the mean answer from uniform, which is $\ln k$ less its entropy.
# Now switch off centring, sharpening (teacher's temperature 0.1, as the student's), both. **Which
# collapse does each give?**

# %%
blunt = {"teacher_temperature": 0.1, "teacher_temperature_start": 0.1}
settings = {
    "DINO": {},
    "no centring": {"centring": False},
    "no sharpening": blunt,
    "neither": {"centring": False} | blunt,
}
runs, ends = {}, {}
with plugged(teacher_probabilities, dino_loss, update_center, ema_update):
    for name, change in settings.items():
        broken = replace(recipe, distillation=replace(recipe.distillation, **change))
        _, ends[name], runs[name] = train(broken, SHORT, every=SHORT // 8)
for name, lost in ends.items():
    told = sum(line["mutual_information"] for line in runs[name][-3:]) / 3
    print(f"{name:14} loss {lost[0]:.2f} -> {lost[-1]:.2f}; an answer tells {told:.2f} nats")
    assert TEST or (told > 0.5) == (name == "DINO")
print(f"ln {OUTPUTS} = {math.log(OUTPUTS):.2f}")
collapse_curves(runs, OUTPUTS)

# %% [markdown]
# | | pushes towards | alone it ends in | entropy of an answer | loss |
# |---|---|---|---|---|
# | sharpening | one output | one output for everything | 0 | 0 |
# | centring | all outputs alike | no opinion | $\ln k$ | $\ln k$ |
# | both | | sure answers, many outputs | between | between |
#
# So a **lower loss is not a better model**: the lowest is a collapse. And a loss that stays at
# $\ln k$ is the other one. People met it as 8.3178 and wondered: it is $\ln 4096$. Print $\ln k$
# beside your curve.
#
# With neither, both entropies stand somewhere, yet equal: nothing is told either. The difference is
# the alarm to watch.

# %% [markdown]
# ## 9. Where it looks
#
# How much does the class token of the last block take from each patch? DINO's authors saw maps that
# trace things. Our drawings have exact masks: we can *count*. First a rival: the same encoder on the
# same global crops, as many steps, but **told the names**.

# %%
told = replace(recipe, objective="supervised")
supervised, _, _ = train(told, STEPS, every=STEPS)
encoders = {"untrained": recipe.build_untrained(), "supervised": supervised, "DINO": model}

# %% [markdown]
# The thing covers a third of a picture. **Predict** how much attention lies on it. We count on the
# unseen artist's drawings, with one head each, chosen on other pictures.

# %%
MEASURES = {"mass_inside": "weight on the thing", "pointing": "brightest cell on it",
            "best_iou": "overlap at best"}  # fmt: skip
measured = {name: diary.judge.measure(one) for name, one in encoders.items()}
key = "twemoji/attention/{}".format
print(f"{'':12}" + "".join(f"{words:>22}" for words in MEASURES.values()))
for name, metrics in measured.items():
    print(f"{name:12}" + "".join(f"{metrics[key(what)].value:22.0%}" for what in MEASURES))
area = measured["DINO"][key("mass_inside")].chance
print(f"the thing's share of the area: {area:.0%}")
found, nothing = (measured[name][key("mass_inside")].value for name in ("DINO", "untrained"))
assert TEST or found > nothing + 0.15

# %% [markdown]
# An untrained encoder spreads its attention like the area. DINO's lies mostly on the thing, without a
# name, box or mask ever shown: "features have strong object-boundary priors", as a number. Names
# teach to look at things too. Compare, but beware: one seed, and a small world with even backgrounds.

# %% [markdown]
# All heads, all pictures: choose, and move the outline. Which **parts** does DINO like?

# %%
from minivl.evaluation.dino import heads_of
from minivl.evaluation.grounding import best_head, cell_shares, mass_inside, mass_mask
from minivl.visualize.encoders import encoders_figure, heads_viewer

asked, labels, masks = source.pictures("twemoji", 9, 12, 2 * cut.global_size)  # finer maps
names = [source.names[label] for label in labels]
maps = {name: heads_of(one, asked, device) for name, one in encoders.items()}
shares = cell_shares(torch.from_numpy(masks), maps["DINO"].shape[-2:])
gallery = diary.judge.gallery
one_head = {}
for name, one in encoders.items():
    head = best_head(heads_of(one, gallery.images[:128], device), gallery.masks[:128])
    one_head[name] = maps[name][:SHOWN, head]
kept = {name: mass_mask(found) for name, found in one_head.items()}
inside = {name: mass_inside(found, shares[:SHOWN]) for name, found in one_head.items()}
still = encoders_figure(asked[:SHOWN], one_head, kept, inside, names=names[:SHOWN])
viewer = heads_viewer(asked, maps, shares, names=names, still=still)
display(viewer)
viewer.still  # one head each, for where scripts do not run

# %% [markdown]
# When did the heads find the thing? One picture, from the first step to the last:

# %%
diary.figures(model, device)["heads_over_training"]

# %% [markdown]
# Most weight is inside, but an outline of 60 % covers a part. **Predict:** after many more steps, on
# finer patches, does an outline fill the thing? Your own run of `minivl train dino` is
# taken if there is one, else the one that comes with the data.

# %%
# CHECKPOINT
from minivl.visualize.heads import heads_figure
from minivl.commands.shipped import load, trained

longer, which = trained("dino")
fine, _, masks = source.pictures("twemoji", 9, SHOWN, 96)
parts = heads_of(longer.to(device), fine, device)
held = mass_inside(parts, cell_shares(torch.from_numpy(masks), parts.shape[-2:]).unsqueeze(1))
print(f"{which}: {held.mean():.0%} of the weight on these things, all heads together")
card = load("dino")[1].evaluation
for split in ("validation", "twemoji"):
    named, pixels = (card[f"{split}/knn/accuracy{one}"]["value"] for one in ("", "_raw_pixels"))
    print(f"{split:10} k-NN of the run with the data {named:.0%}, of raw pixels {pixels:.0%}")
    assert named > pixels + 0.1
heads_figure(fine, parts, mass_mask(parts), names=names[:SHOWN])

# %% [markdown]
# Hardly. Heads divide the thing among them: in the run with the data, one takes a snail's house, one
# its body. Together they cover it.

# %% [markdown]
# ## 10. From v1 to v3
#
# | | DINO (2021) | DINOv2 (2023) | DINOv3 (2025) | why |
# |---|---|---|---|---|
# | against collapse | centring | Sinkhorn-Knopp (large recipe) | Sinkhorn-Knopp | outputs used evenly in each batch |
# | task | crops | crops, and masked patches (iBOT) | the same | patches must know things too |
# | spread | – | KoLeo: nearest neighbours pushed apart | the same | vectors fill their space |
# | patches in long runs | – | – | Gram anchoring: keep an earlier teacher's patch similarities | else they blur |
# | outputs $k$ | 65,536 | 131,072 | | more data, finer answers |
# | data | ImageNet, 1.3 M | curated, 142 M | 1.7 billion | variety |
# | largest model | ViT-B | ViT-g, 1.1 billion | ViT-7B | |
#
# FLAVA starts from v1.

# %% [markdown]
# Try *Sinkhorn-Knopp*: scale each output to the same total over the batch, then each answer to total
# 1, three times. **Predict** how evenly either way uses the outputs.

# %%
from minivl.objectives.sinkhorn import sinkhorn

batch = examples.collate([examples[10**6 + i] for i in range(64)])
with torch.no_grad():
    logits = model.teacher(batch["global_crops"].to(device)).flatten(0, 1)
tau = recipe.distillation.teacher_temperature
ways = {
    "softmax alone": (logits / tau).softmax(dim=-1),
    "centring": teacher_probabilities(logits[None], model.center, tau)[0],
    "Sinkhorn-Knopp": sinkhorn(logits, tau),
}
uses = {name: float(entropy(answers.mean(dim=0))) for name, answers in ways.items()}
for name, answers in ways.items():
    print(f"{name:15} of the mean {uses[name]:.2f} of {math.log(OUTPUTS):.2f}, "
          f"of an answer {entropy(answers).mean():.2f}")  # fmt: skip
assert max(uses, key=uses.get) == "Sinkhorn-Knopp"

# %% [markdown]
# Centring evens out the mean *logits*, from memory of earlier batches. Sinkhorn-Knopp evens out the
# *answers* of this batch, nearly perfectly and without memory. The price: single answers are less sure, the more so
# as our batch has fewer answers than outputs. Large batches suit it.

# %% [markdown]
# ## 11. Paper, code, minivl
#
# | topic | paper | DINO's code | minivl |
# |---|---|---|---|
# | teacher's temperature | 0.04 to 0.07 in 30 epochs | 0.04 by default, changes by epoch | by step; 0.04 at `tiny` |
# | clipping | – | each tensor for itself | `clip_mode="each"`; this lesson: one norm |
# | centre over GPUs | – | mean of all | the same |
# | last layer | – | frozen in epoch 1 | `frozen_steps` |
# | optimiser | AdamW | AdamW | AdamW; Muon at `tiny` |
# | teacher in eval mode | – | no, it has no dropout | yes |
#
# ## 12. Questions
#
# **A. Why does the teacher need no gradient?** What would gradient descent do if it reached both?
#
# <details><summary>Answer</summary>
#
# The loss is the teacher's entropy plus its distance from the student. With a gradient the teacher
# could lower the first by being surer of anything at all, and the second by following the student
# into any constant. The quickest way to agree is to ignore the picture. As a constant, the teacher is
# a fixed goal at each step. And it needs no gradient to improve: the mean of many students is a
# better network than each of them, so following it pulls the student up. The experiment: set
# `"momentum": 0.0` in `settings` of section 8, a teacher that is last step's student, and compare the
# difference of the entropies.
#
# </details>

# %% [markdown]
# **B. Why is a loss of $\ln k$ a warning?** Many losses start there.
#
# <details><summary>Answer</summary>
#
# A student without opinion pays $\ln k$ whatever the teacher says, and a teacher without opinion costs
# at least $\ln k$. At the start that may be so. If it *stays*, both are uniform, the gradient is
# nearly 0, and nothing will change. Look at the entropy of an answer: at $\ln k$ too? Then lower the
# teacher's temperature or warm it up from below, and make sure that teacher and student are two
# objects. Section 8 is the experiment.
#
# </details>
#
# **C. Why must parts predict wholes, and not the reverse?**
#
# <details><summary>Answer</summary>
#
# A part should imply the whole: from a handle to the cup. The reverse asks a view of the whole to
# forget all but one part, and which one it cannot know. The experiment: `local_crops=0` in
# `recipe.data.crops` leaves global pairs only; compare k-NN after equal time, not equal steps.
#
# </details>
#
# ## 13. Stretch
#
# Put a photograph behind the drawings, `background="photo"` in `recipe.data`, and train again. What
# do its crops have in common now? Compare k-NN, and look at the heads.
#
# ## 14. Full size

# %%
from minivl.commands.runs import check_model

full = DinoRecipe.at_size("base")
stage = full.stages(seed=0)[0]
giant = check_model(stage)  # shapes only: no number is drawn
parts = [sum(p.numel() for p in part.parameters()) / 1e6
         for part in (giant.student.backbone, giant.student.head)]  # fmt: skip
print(f"ViT-B/16: {parts[0]:.1f} million parameters, head {parts[1]:.1f}, and both once more")
print(f"{full.training.steps:,} steps of {full.training.batch_size:,}; {', '.join(stage.notes)}")
if size() == "base":  # five steps of 16 pictures: an estimated minute and 16 GB on a GPU
    full = replace(full, training=replace(full.training, steps=5, batch_size=16))
    source = ObjectSource.load(full.data)
    with plugged(teacher_probabilities, dino_loss, update_center, ema_update):
        _, losses, _ = train(full, 5, every=5)
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}, ln {full.head.outputs:,} = 11.09")

# %%
progress()

# %% [markdown]
# ## What you have now
#
# **Built:** the teacher's answer, the loss over crops, the centre, the running mean.
# **Seen:** both collapses, and heads that find things nobody named.
# **Measured:** k-NN far above an untrained encoder, for an unseen artist too; attention on things far
# above their share of the area; what Sinkhorn-Knopp evens out.
#
# ```
# minivl train dino --size tiny              # three minutes on two cores, and a report
# minivl train dino --size tiny --distillation.no-centring --out runs/collapse
# minivl train dino --size base --dry-run    # ViT-B/16: its parameters, work and memory
# ```
#
# Next, lesson 03: a picture becomes a row of words.
