# %% [markdown]
# # 08 · UniT
#
# **The question: what changes when the answer is a set?**
#
# "What is in this picture, and where?" has no first answer and no last one. You write how guesses and
# things find each other, what they pay, and the queries by which one decoder learns eight tasks. Seven
# blanks, most of them short, about two hours.

# %%
import math

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from minivl.course import check, hint, plugged, progress, size
from minivl.nn.resnet import EPS, waves
from minivl.objectives.detection import SET_WEIGHTS, corners

# %% [markdown]
# ## 1. An answer without order
#
# These are our pictures: one to four things of 48 kinds, and a box around each.

# %%
from dataclasses import replace

from minivl.evaluation.pools import EVALUATION_SEED
from minivl.recipes.unit import UnitRecipe
from minivl.recipes.unit_figures import scenes_of, varied
from minivl.training.device import choose_device
from minivl.visualize.found import Boxes
from minivl.visualize.to_find import to_find

TEST, device = size() == "test", choose_device()
print(f"size {size()}" + (": a rehearsal, nothing is learned" if TEST else ""))
STEPS, BATCH, MANY = (4, 8, 8) if TEST else (1000, 32, 256)
recipe = UnitRecipe.at_size("test" if TEST else "tiny")
source = recipe.load_source()
scenes = scenes_of(source, "scene-detection", "validation")
shown = varied(scenes, 8)
images = [scenes[n]["image"] for n in shown]
truths = [Boxes.true(scenes.target(n), scenes.classes) for n in shown]
to_find(images[-4:], truths[-4:])

# %% [markdown]
# A network makes guesses in some order: "cat, dog". The list says "dog, cat". **Predict** what
# cross-entropy charges, place by place, for being right.

# %%
says = torch.tensor([[-4.0, 4.0], [4.0, -4.0]])  # dog is 0: first cat, then dog
for order in ([0, 1], [1, 0]):
    print(order, round(float(F.cross_entropy(says, torch.tensor(order))), 4))

# %% [markdown]
# All depends on an order that nobody meant. DETR (Carion et al. 2020) **first finds out which guess
# answers for which thing, then compares.** Guesses are more than things: "nothing here" is an answer,
# too.
#
# ## 2. One transformer for all tasks
#
# UniT (Hu and Singh 2021) adds questions and sentences. All that is shown becomes tokens side by side;
# one *decoder* looks at them.

# %%
from minivl.data.stream import fetch, positions
from minivl.data.unit_tasks import task_examples
from minivl.visualize.one_decoder import one_decoder


def batch_of(task, seed=0, part=0, count=BATCH):
    """Training examples of a task, as the model wants them."""
    stream = recipe.build_stream(source, task, seed)
    found = fetch(stream, positions(part, count), seed).batch
    return {k: v.to(device) if torch.is_tensor(v) else v for k, v in found.items()}


torch.manual_seed(0)
all_tasks = recipe.build_model(source).to(device).eval()
asked = task_examples(source, "scene-vqa", "train", 0)
one_decoder(all_tasks, batch_of("scene-vqa", count=1), asked[0]["image"], asked.asked(0).text)

# %% [markdown]
# New are the *queries*: learned vectors that ask the tokens, one guess each. They are added wherever
# attention asks, never to what is carried on; that starts from zeros. A table holds them: a page a task,
# `q` rows of `d` numbers. Pages count from 0.
#
# Two pages with two queries of two numbers, 1 to 8. **Write down** what task 1 hands over to a batch of
# two. (Stuck anywhere? `hint(task_queries)`.)

# %% exercise minivl.models.unit.task_queries

# %% [markdown]
# ## 3. Where is a cell?
#
# Attention does not know where a token stands. A place is told in waves, fast ones and slow ones;
# `waves(p, c)` gives $c$ numbers for each $p$:
#
# $$\mathrm{wave}_{2i}(p)=\sin\frac{p}{10000^{2i/c}},\qquad
# \mathrm{wave}_{2i+1}(p)=\cos\frac{p}{10000^{2i/c}}$$
#
# A cell has half of its $d$ numbers for the row, half for the column. Rows count from 1 to $h$, stretched
# so that $h$ is $2\pi$ (DETR adds `EPS` to the divisor); columns likewise. On paper, $h=1$, $w=2$, $d=4$: the row is $2\pi$, the columns
# $\pi$ and $2\pi$. The numbers?

# %% exercise minivl.nn.resnet.sine_positions_2d

# %% [markdown]
# **Predict:** to which cells is a cell alike? Each small map belongs to one cell.

# %%
from minivl.visualize.positions import position_maps


def as_table(places):
    return F.pad(places.flatten(0, 1), (0, 0, 1, 0))[None]  # the picture expects a class token


position_maps({
    f"{h} rows, {w} columns": (as_table(sine_positions_2d(h, w, 96)), (h, w))
    for h, w in ((8, 8), (5, 8))
})  # fmt: skip

# %% [markdown]
# What is near is alike, along rows and along columns, at any proportions.
#
# ## 4. How good is a box?
#
# *IoU*, intersection over union: [0, 0, 2, 2] and [1, 1, 3, 3] (as $x_0,y_0,x_1,y_1$) share 1 of 7. With
# [4, 0, 6, 2] it is 0. **And if that box came closer, to [3, 0, 5, 2]?** What does the gradient say?

# %%
from minivl.objectives.detection import box_iou

two = torch.tensor([[4.0, 0.0, 6.0, 2.0], [3.0, 0.0, 5.0, 2.0]], requires_grad=True)
overlap = box_iou(two, torch.tensor([[0.0, 0.0, 2.0, 2.0]]))
print(overlap.flatten().tolist(), "gradients", *torch.autograd.grad(overlap.sum(), two)[0].tolist())

# %% [markdown]
# Nothing says where to go. *GIoU* also counts what is empty in the *hull*, the smallest box around both:
#
# $$\mathrm{GIoU}=\frac{|A\cap B|}{|A\cup B|}-\frac{|\mathrm{hull}|-|A\cup B|}{|\mathrm{hull}|}$$
#
# For the far box: hull 12, union 8. Work it out.

# %% exercise minivl.objectives.detection.generalized_box_iou

# %% [markdown]
# **Draw** where a step against the loss moves a guess, for both, from all around.

# %%
from minivl.visualize.pulls import pulls

pulls({"IoU": box_iou, "GIoU, yours": generalized_box_iou})

# %% [markdown]
# The one dot that GIoU leaves lies wholly inside: nothing changes wherever it goes. So DETR adds the plain
# distance.
#
# ## 5. Who answers for what?
#
# The cost if query $i$ answers for thing $j$, of class $c_j$ and box $b_j$ (centre, width, height;
# `corners` makes corners of them). "Nothing" is the last class; factors 1, 5 and 2 are `weights`:
#
# $$C_{ij}=-\,p_i(c_j)+5\,\lVert\hat b_i-b_j\rVert_1-2\,\mathrm{GIoU}(\hat b_i,b_j)$$
#
# By hand: a query believes in the class with 0.6 and has the very box. Another one has 1/3, and 0.4 in
# place of 0.2 for width and height.

# %%
print(-0.6 + 5 * 0 - 2 * 1, round(-1 / 3 + 5 * (0.2 + 0.2) - 2 * 0.2**2 / 0.4**2, 4))

# %% exercise minivl.objectives.detection.match_cost

# %% [markdown]
# Three queries, two things, costs [1, 2], [2, 9], [8, 8]. **Find** the cheapest way to give each a query.
# Does it begin with the cheapest cell?

# %% exercise minivl.objectives.detection.assign

# %%
from minivl.visualize.assignments import assignments


def greedy(cost):
    """The cheapest cell first, then the cheapest of what is left."""
    left, pairs = cost.clone(), []
    for _ in range(min(cost.shape)):
        query, thing = divmod(int(left.argmin()), cost.shape[1])
        pairs.append((query, thing))
        left[query], left[:, thing] = math.inf, math.inf
    return pairs


def pairs_of(cost):
    return [(int(q), int(t)) for q, t in zip(*assign(cost), strict=True)]


cost = torch.tensor([[1.0, 2.0], [2.0, 9.0], [8.0, 8.0]])
assignments(cost.numpy(), {"greedy": greedy(cost), "yours": pairs_of(cost)}, ("dog", "cat"))

# %% [markdown]
# How often does haste cost something? **Guess**, for eight queries and four things at random costs.

# %%
draws = torch.rand(500, 8, 4, generator=torch.Generator().manual_seed(0))
dearer = [sum(float(one[p]) for p in greedy(one)) - sum(float(one[p]) for p in pairs_of(one))
          for one in draws]  # fmt: skip
print(f"greedy pays more in {100 * sum(d > 1e-6 for d in dearer) / len(draws):.0f} % of the cases")

# %% [markdown]
# If two queries might answer for one dog, it would be found twice. Older detectors do, and strike out
# doubles. Matching punishes them, but slowly, as you will see.
#
# ## 6. The loss of a set
#
# Cross-entropy for all queries, most of them "nothing". Eight queries, two things: a lazy model bets
# alike on "nothing" everywhere. **Which bet is cheapest? And if "nothing" counts a fifth?**

# %%
for weight in (1.0, 0.2):
    share = 6 * weight / (6 * weight + 2)  # of all weights
    print(f"'nothing' counts {weight}: the best bet on it is {share:.2f}")

# %% [markdown]
# With weight 1 silence pays. (DETR, of a hundred queries: a tenth.) So a *weighted* mean, divided by the
# sum of weights. Distance and $1-\mathrm{GIoU}$ are for queries with a thing, divided by the number of
# things.

# %% exercise minivl.objectives.detection.set_loss

# %% [markdown]
# ## 7. Boxes grow
#
# Your functions train a detector of eight queries; "nothing" counts 0.2. Each decoder block is asked,
# matched anew, and pays. **Predict** what comes first: names or places? Then watch, a minute and a half on
# two cores.
#
# <details><summary>What trips people here</summary>
#
# Corners where centres are due, or the other way round: both are four numbers, and nothing complains until
# a cost is NaN. Costs that are NaN because training diverged a step before: SciPy says "matrix contains
# invalid numeric entries", which is the symptom, not the cause. More things than queries: somebody is
# never found. And pictures without any thing, where a mean over no boxes is 0/0.
#
# </details>

# %%
from minivl.course.train import fit
from minivl.recipes.unit_figures import detected
from minivl.visualize.boxes import GrowingBoxes, growing_boxes

detection = replace(recipe, tasks=("scene-detection",))
torch.manual_seed(0)
model = detection.build_model(source).to(device)
finder = model.for_task("scene-detection")
grown = GrowingBoxes(images, truths)


def watch(step):
    found = detected(finder, scenes, shown, device)
    grown.add(step, [Boxes.found(one, scenes.classes) for one in found])


stream = replace(detection.build_stream(source, "scene-detection", 0), batch_size=BATCH)
batches = (fetch(stream, positions(step, BATCH), 0).batch for step in range(STEPS))
watch(0)
with plugged(task_queries, sine_positions_2d, generalized_box_iou, match_cost, assign, set_loss):
    losses = fit(model, batches, STEPS, lr=3e-3, optimizer="muon", warmup=max(STEPS // 20, 1),
                 weights=detection.loss_weights, every=STEPS // 4 if TEST else 50,
                 watch=watch)  # fmt: skip

# %% [markdown]
# *AP50* goes through all boxes, the surest first. Right is the name, with an IoU of one half. Of those so
# far, how many are right, and how much of all is found? The area under this curve, a mean over names: 1 is
# perfect.

# %%
from minivl.evaluation.unit import evaluate_task


def judged(model, task, split="validation"):
    """AP50 of boxes, or the share of right answers."""
    examples = task_examples(source, task, split, EVALUATION_SEED)
    found = evaluate_task(model.for_task(task), examples, split, device, MANY, MANY)
    return found["ap50" if "ap50" in found else "accuracy"].value


def learned(step):
    """Means over things: IoU of the box that lies best, and whether it has the right name."""
    place, name = [], []
    for found, truth in zip(grown.history[step], truths, strict=True):
        overlap = box_iou(torch.tensor(truth.boxes).float(), torch.tensor(found.boxes).float())
        best, query = overlap.max(dim=1)
        place += best.tolist()
        name += [found.names[q] == true for q, true in zip(query, truth.names, strict=True)]
    return (
        f"step {step:4}: IoU {sum(place) / len(place):.2f}, names right {sum(name) / len(name):.0%}"
    )


steps = sorted(grown.history)
print("\n".join(learned(step) for step in [*steps[:4], *steps[4::4]]))
few = {step: found[2:6] for step, found in grown.history.items()}
display(growing_boxes(images[2:6], few, truths[2:6]))
known, unseen = judged(model, "scene-detection"), judged(model, "scene-detection", "twemoji")
print(f"AP50: known artists {known:.2f}, an artist never seen {unseen:.2f}")
assert TEST or (known > 0.6 and unseen > 0.35 and known > unseen)

# %% [markdown]
# Places come first: queries look somewhere before they know what is there.
#
# ## 8. What queries look at
#
# **Predict:** does a query look at one thing? Do silent ones look?

# %%
from minivl.recipes.unit_figures import what_queries_see

what_queries_see(finder, source, device)

# %% [markdown]
# A query looks at its thing. Silent ones look, too, often at what another has told. Has each query a corner
# of its own? **Guess**, then see the centres of its boxes in many pictures.

# %%
from minivl.visualize.query_places import query_places

found = detected(finder, scenes, range(MANY), device)
query_places([Boxes.found(one, scenes.classes) for one in found], recipe.data.image_size)

# %% [markdown]
# Most have a corner, one takes what is large. Where two share a corner a thing may be found twice, as in
# section 7; matching punishes it, little by little.
#
# ## 9. Eight tasks at once
#
# People disagree about answers. So VQA asks of each of $a$ answers: yes or no? The cross-entropies are
# *added*; $s$ is 1 where three of ten people or more gave the answer, less for fewer:
#
# $$L=-\frac1b\sum_{i=1}^{b}\sum_{k=1}^{a}\big[s_{ik}\ln\sigma(\ell_{ik})
# +(1-s_{ik})\ln(1-\sigma(\ell_{ik}))\big]$$
#
# At the start all logits are near 0. **What is the loss with VQA's 3,129 answers?**

# %% exercise minivl.objectives.detection.answer_loss

# %% [markdown]
# Each step draws one of eight tasks:
#
# | task | sees | asks | as in the paper's |
# |---|---|---|---|
# | scene-detection | a picture | what is where? | COCO |
# | scene-attributes | a picture | the same, with size and colour | Visual Genome |
# | scene-vqa | picture and question | for instance: what is on the left? | VQA v2 |
# | scene-ve | picture, partly hidden, and claim | true, false, or hidden? | SNLI-VE |
# | caption-answers | question and sentence | does it hold the answer? | QNLI |
# | scene-sentences | two sentences | does the second follow? | MNLI |
# | caption-pairs | two sentences | do they say the same? | QQP |
# | gloss-kinds | a definition | living thing or artifact? | SST-2 |
#
# The shipped model's scores on all eight, then where its answers look:

# %%
from minivl.commands.shipped import load
from minivl.data.unit_tasks import BOXES
from minivl.errors import UserError
from minivl.recipes.unit_figures import questions
from minivl.visualize.baselines import baselines

eight, numbers = all_tasks, {}
try:
    trained, card = load("unit")
    eight, numbers = (eight if TEST else trained.to(device)), card.evaluation
except UserError as error:
    print(error.what)
groups = {}
for task in recipe.tasks:
    name = "ap50" if task in BOXES else "accuracy"
    if one := numbers.get(f"validation/{task}/{name}"):
        groups[f"{task}, {name.replace('ap', 'AP')}"] = [
            ("UniT, all eight", one["value"], True), ("without looking", one["chance"], False)]  # fmt: skip
if groups:
    display(baselines("Eight tasks, one model", groups))
questions(eight.for_task("scene-vqa"), source, device, "Where an answer comes from")

# %% [markdown]
# Exchange the queries of two tasks, and nothing else, neither heads nor task tokens. **Predict** the
# damage, pair by pair: boxes; question and claim; two sentence tasks.

# %%
import copy

PAIRS = (("scene-detection", "scene-attributes"), ("scene-vqa", "scene-ve"),
         ("caption-pairs", "gloss-kinds"))  # fmt: skip


def exchanged(model, one, other):
    """A copy in which two tasks have each other's queries."""
    twin = copy.deepcopy(model)
    count = twin.tasks[one].queries
    alike = [name for name, task in twin.tasks.items() if task.queries == count]
    a, b = alike.index(one), alike.index(other)
    table = twin.query_embed[str(count)].data
    table[[a, b]] = table[[b, a]]
    return twin


lost = {}
for pair in PAIRS:
    wrong = exchanged(eight, *pair)
    for task in pair:
        before, after = judged(eight, task), judged(wrong, task)
        lost[task] = before - after
        print(f"{task:18} {before:.2f} -> {after:.2f}")
assert lost["caption-pairs"] == lost["gloss-kinds"] == 0
assert TEST or not numbers or min(lost[task] for pair in PAIRS[:2] for task in pair) > 0.1

# %% [markdown]
# <details><summary>Why?</summary>
#
# Both tables for boxes search for things, yet hardly a box survives: each has learned beside its own task
# token and its own head. (Not always: in another training, with twelve queries, a tenth was lost.) Of
# questions what is left is below guessing: a wrong query does not abstain. And the sentence tasks lose
# nothing at all, to the last digit. Of their text the decoder sees one token, [CLS]. Queries only ask; who
# has one thing to look at sees the same, whatever he asks.
#
# </details>
#
# **Do tasks help or hurt each other?** The cosine of two tasks' gradients on the shared decoder says
# whether a step for one helps the other. **Predict** which agree.

# %%
from minivl.visualize.gradient_cosines import gradient_cosines


def slope(model, task, seed):
    """The gradient of a task's mean loss on the decoder's weights, as one vector of length 1."""
    weights = list(model.decoders.parameters())
    total = [torch.zeros_like(w) for w in weights]
    for part in range(8):
        batch = batch_of(task, seed, part=part)
        with plugged(answer_loss):
            losses = model.losses(batch)
        loss = sum(recipe.loss_weights[name] * one for name, one in losses.items())
        parts = torch.autograd.grad(loss, weights, materialize_grads=True)
        total = [a + b for a, b in zip(total, parts, strict=True)]
    starts.setdefault(task, round(float(loss.detach()), 2))
    return F.normalize(torch.cat([one.flatten() for one in total]), dim=0)


panels, starts = {}, {}
for name, one in {"at the start": all_tasks, "trained": eight}.items():
    one = copy.deepcopy(one).requires_grad_().train()
    a, b = (torch.stack([slope(one, task, seed) for task in one.tasks]) for seed in (1, 2))
    panels[name] = ((a @ b.T + b @ a.T) / 2).cpu().numpy()
print("losses at the start:", starts)
gradient_cosines(panels, list(all_tasks.tasks))

# %% [markdown]
# <details><summary>How to read it</summary>
#
# First the diagonal: a task with itself, from other examples. Near 1, its gradient says what the task
# wants; near 0 it is mostly noise, and no other number in its row says much. Training makes it so: what is
# left to learn differs from example to example. Off the diagonal most numbers are near 0: tasks do not
# meet. They seldom oppose each other; they compete for weights and for steps. And look at the sizes of the
# losses: whoever is large pulls hardest. VQA with 3,129 answers begins at 2,169, a sentence task at 0.7. So
# our recipe gives tasks of two or three answers four times the weight, as printed.
#
# </details>
#
# **Does sharing pay?** A model for each task; one for all; one with a decoder for each. A task reads as
# many examples each time. **Predict** who gains.

# %%
from minivl.course.measured import UNIT_LABELS, UNIT_TASKS, ablation

print(UNIT_TASKS.command("alone, seed 0"))
print(UNIT_TASKS.command("together, a decoder each, seed 0"))
print(f"python -m minivl.course.measured {UNIT_TASKS.runs} --of unit_tasks   # fills in the table")
ablation(study=UNIT_TASKS)

# %% [markdown]
# <details><summary>Who gained</summary>
#
# Attributes gain most, from 52 to 62 up to 67 to 83; then questions, from 42 to 44 up to 47 to 54: their
# encoder reads the other tasks' pictures, too. Detection gains little, sentences nothing. Claims leave the
# guess late, and whether in time is luck: alone in two of three seeds, together in three, with decoders
# apart in one. Eight decoders are no better than one.
#
# </details>
#
# **Why queries, and not a CLS token?**
#
# <details><summary>Answer</summary>
#
# A CLS token gives one answer. Queries are one interface for one or a hundred: detection reads all,
# a question the first. You saw both in sections 8 and 9: a query that looks at one thing, and one that
# looks at words and picture. And as queries, not tokens of the encoder, they let picture and text be
# encoded without knowing the task. UniT gives the encoders a task token all the same; its own table has
# VQA and entailment a point better without.
#
# </details>
#
# ## 10. And FLAVA?
#
# **Besides the architecture, what is the other biggest difference between UniT and FLAVA?**
#
# <details><summary>Answer</summary>
#
# Supervision. UniT has labels for everything it learns, many tasks together, end to end, and no objective
# comes first. FLAVA learns from masks and pairs that nobody labelled, then is adapted to each task by
# fine-tuning or a probe. So the question to both is: how many labels do you need?
#
# </details>
#
# The experiment: 640, 6,400 and 64,000 labelled questions, 1,000 steps of 64. UniT; FLAVA's architecture
# from noise; FLAVA pretrained. **Draw** three lines.

# %%
for name in list(UNIT_LABELS.variants)[:3]:
    print(UNIT_LABELS.command(name))
print(
    f"python -m minivl.course.measured {UNIT_LABELS.runs} --of unit_labels   # fills in the table"
)
ablation(study=UNIT_LABELS)

# %% [markdown]
# Per cent of right answers. Which gap closes as labels grow: that to another architecture, or that to
# pretraining?
#
# <details><summary>An answer</summary>
#
# FLAVA, pretrained on pairs that nobody labelled, does more with 640 labels than UniT with 64,000: 45 %,
# 42 %. With a hundred times the labels the gap to its own start from noise has grown from 13 points to 19.
# The two architectures without a past are 2 to 6 points apart. One seed, 1,000 steps: more steps may close
# it. And alone UniT lacks what it is made for: among its seven other tasks it answers 47 to 54 %.
#
# </details>
#
# ## 11. Paper, code, minivl
#
# | topic | paper | its code | minivl |
# |---|---|---|---|
# | picture into the decoder | encoder's output | plus what went in | as the code; `--image.no-residual` |
# | text into the decoder | all words, or [CLS] | [CLS] but for VQA | as the code |
# | first weights of decoders | – | shared: Xavier; separate: torch's | Xavier; `--decoder.init official` |
# | where it starts | BERT, DETR's backbone | the same | noise; `--text.weights`, `--backbone.weights` |
# | tasks not drawn | – | their weights decay | rest; `--idle decayed` |
# | earlier decoder blocks | learn boxes | not answers | as the code; `--all-blocks-answer` |
# | ReLU of the attributes' head | – | after its last layer | between its layers; `--attribute-relu last` |
# | norm | after each layer | after | after at `base`, before at tiny |
#
# ## 12. Stretch: how many queries?
#
# Ours has 8. Train section 7's detector with 4, 12 and 40. Which finds more, which sooner?
#
# <details><summary>Idea</summary>
#
# `replace(detection, decoder=replace(detection.decoder, box_queries=40))`. After 1,000 steps AP50 was 96
# with 4 queries, 95 with 8, 87 with 12 and 37 with 40 (one seed). Fewer learn sooner: each is matched more
# often. But four can never tell of a fifth thing. Of forty, 36 or more say "nothing"; with weight 0.2 they
# count as seven things. Change `no_object` along: is it the number, or the balance?
#
# </details>
#
# ## 13. Full size
#
# At size `base` the next cell also takes ten steps of the full model: an estimated two minutes and 16 GB
# on a GPU.

# %%
from minivl.commands.estimate import parameters_by_part
from minivl.commands.runs import check_model

full = UnitRecipe.at_size("base")
stage = full.stages(seed=0)[0]
giant = check_model(stage)  # shapes only: no number is drawn
for name, count in parameters_by_part(giant).items():
    print(f"{name:14} {count / 1e6:6.1f} million")
print("; ".join(stage.notes))
if size() == "base":
    giant, big = stage.build_model().to(device), replace(stage.build_streams()[0], batch_size=4)
    some = (fetch(big, positions(step, 4), 0).batch for step in range(10))
    with plugged(task_queries, generalized_box_iou, match_cost, assign, set_loss):
        print(fit(giant, some, 10, lr=5e-5, warmup=5, weights=full.loss_weights))

# %%
progress()

# %% [markdown]
# ## What you have now
#
# **Built:** queries of a task, places in two directions, GIoU, matching, the loss of a set, answers as
# yes and no. **Seen:** boxes that grow, queries that share a picture out, tasks that meet or do not.
# **Measured:** AP50 for known and unknown artists, what an exchange of queries costs, what labels are
# worth.
#
# ```
# minivl train unit --size tiny                                        # eight tasks, six minutes
# minivl train unit --size tiny --tasks scene-detection --steps 1000   # boxes alone, two minutes
# minivl show runs/unit_tiny photo.jpg "what is on the left"           # ask it
# minivl train unit --size base --dry-run                              # its work and memory
# torchrun --nproc-per-node 8 -m minivl train unit --size base --out runs/unit
# ```
#
# Next, lesson 09: no labels again, and no objective is left out.
