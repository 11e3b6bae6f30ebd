"""UniT's forward pass is the paper's and the published code's, restated here step by step.

Hu and Singh 2021, arXiv 2102.10772, sections 3.1 to 3.4. The restatement reads a model's weights by
name, in float64; of the model's own code it calls nothing. Every width differs from the others, so
that no projection can be left out, and every weight is drawn. Letters: b batch, l decoder blocks,
n tokens, q queries.
"""

import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minivl.models.unit import Unit, UnitTask
from minivl.models.unit_encoders import UnitImageEncoder, UnitTextEncoder
from minivl.nn.bert import Bert

IMAGE, TEXT, WIDTH, HEADS, DEPTH = 8, 10, 12, 2, 2
SIDE, CELL, WORDS = 24, 8, 6
DETR_EPS, BERT_EPS = 1e-5, 1e-12
TASKS = (
    UnitTask("boxes", "boxes", classes=3, queries=4),
    UnitTask("ask", "answer", classes=6, queries=3, text=True, soft=True),
    UnitTask("named", "boxes", classes=5, queries=4, attributes=7),
    UnitTask("claim", "answer", classes=3, queries=3, text=True, first_word_only=True),
    UnitTask("read", "answer", classes=2, queries=3, image=False, text=True, first_word_only=True),
)
NUMBER = {"boxes": 0, "ask": 1, "named": 2, "claim": 3, "read": 4}
QUERIES = {"boxes": ("4", 0), "named": ("4", 1), "ask": ("3", 0), "claim": ("3", 1),
           "read": ("3", 2)}  # fmt: skip
"""Which table of queries a task has, and which place in it."""


@dataclass(frozen=True)
class Switches:
    """What the published model has and plainer ones have not, or the other way round."""

    image_token: bool = True
    text_token: bool = True
    residual: bool = True
    all_words: bool = False
    shared: bool = True
    relu: str = "between"


SWITCHES = {
    "published": Switches(),
    "no image token": Switches(image_token=False),
    "no text token": Switches(text_token=False),
    "no residual": Switches(residual=False),
    "all words": Switches(all_words=True),
    "separate": Switches(shared=False, relu="last"),
    "all off": Switches(False, False, False, True, False, "last"),
}


class Cells(nn.Module):
    """A backbone that looks at each cell's pixels alone: the paper's is compared elsewhere."""

    channels = 5

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, kernel_size=CELL, stride=CELL)

    def forward(self, image):
        return self.conv(image).tanh()


@pytest.fixture(scope="module", params=SWITCHES)
def model(request, drawn):
    on = SWITCHES[request.param]
    tasks = [replace(task, first_word_only=task.first_word_only and not on.all_words)
             for task in TASKS]  # fmt: skip
    count = len(tasks)
    image_encoder = UnitImageEncoder(
        Cells(), width=IMAGE, depth=DEPTH, heads=HEADS, tasks=count, task_token=on.image_token,
        residual=on.residual,
    )  # fmt: skip
    bert = Bert(vocab_size=20, width=TEXT, depth=DEPTH, heads=HEADS, max_length=9)
    text_encoder = UnitTextEncoder(bert, tasks=count, task_token=on.text_token)
    unit = Unit(
        image_encoder, text_encoder, tasks, width=WIDTH, depth=DEPTH, heads=HEADS, shared=on.shared,
        attribute_relu=on.relu,
    )  # fmt: skip
    drawn(unit)
    with torch.no_grad():  # else all queries find the same class
        for name in ("boxes", "named"):
            logits, _ = unit.heads[name](unit.decode(batch_of(name, seed=20, padded=False))[-1])
            unit.heads[name].class_embed.bias -= logits.mean(dim=(0, 1))
    return unit, on


def batch_of(name, seed, padded):
    """Three examples of a task; padded: two pictures do not fill the tensor."""
    generator = torch.Generator().manual_seed(seed)
    task, batch = TASKS[NUMBER[name]], {"task": name}
    if task.image:
        batch["image"] = torch.randn(3, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
        batch["sizes"] = torch.tensor([[100, 200], [24, 24], [10, 40]])
    if task.image and padded:
        mask = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
        for row, (height, width) in enumerate(((24, 24), (16, 24), (8, 16))):
            mask[row, :height, :width] = True
        batch["pixel_mask"] = mask
    if task.text:
        seen = (torch.arange(WORDS) < torch.tensor([[6], [4], [2]])).long()
        batch["input_ids"] = seen * torch.randint(1, 20, (3, WORDS), generator=generator)
        batch["attention_mask"] = seen
        batch["token_type_ids"] = (torch.arange(WORDS) > 2).long() * seen
    return batch


# The restatement.


def linear(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(weights, name, x, eps):
    deviation = x - x.mean(dim=-1, keepdim=True)
    x = deviation / (deviation.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def attention(weights, name, asked, keys, values, visible):
    """Each head by itself: asked (b, t, d), keys and values (b, n, d), visible (b, n)."""
    q, k, v = (
        linear(weights, f"{name}.{part}_proj", x)
        for part, x in (("q", asked), ("k", keys), ("v", values))
    )
    size, found = q.shape[-1] // HEADS, []
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        scores = torch.einsum("btd,bnd->btn", q[..., own], k[..., own]) / math.sqrt(size)
        scores = scores.exp() * visible[:, None]
        found.append(scores / scores.sum(dim=-1, keepdim=True) @ v[..., own])
    return linear(weights, f"{name}.out_proj", torch.cat(found, dim=-1))


def mlp(weights, name, x, activation):
    return linear(weights, f"{name}.fc2", activation(linear(weights, f"{name}.fc1", x)))


def encoder(weights, name, x, places, visible, activation, eps):
    """Norms after each step; places are added to what asks and to what is asked."""
    for number in range(DEPTH):
        block = f"{name}.blocks.{number}"
        placed = x + places
        x = x + attention(weights, f"{block}.attention", placed, placed, x, visible)
        x = norm(weights, f"{block}.norm1", x, eps)
        x = norm(weights, f"{block}.norm2", x + mlp(weights, f"{block}.mlp", x, activation), eps)
    return x


def sine_place(row, column, rows, columns):
    """A cell's place, counted from 1: half of the width for its row, half for its column."""
    told = []
    for count, side in ((row, rows), (column, columns)):
        angle = 2 * math.pi * count / (side + 1e-6)
        for pair in range(IMAGE // 4):
            slower = angle / 10_000 ** (2 * pair / (IMAGE // 2))
            told += [math.sin(slower), math.cos(slower)]
    return told


def grid_of(batch):
    """Where the cells are: places (b, n, d), visible (b, n). Padding is told nothing of use."""
    side, places, visible = SIDE // CELL, [], []
    mask = batch.get("pixel_mask", torch.ones(3, SIDE, SIDE, dtype=torch.bool))
    for picture in mask:
        rows, columns = int(picture[:, 0].sum()) // CELL, int(picture[0].sum()) // CELL
        cells = [(row, column) for row in range(side) for column in range(side)]
        places.append([sine_place(r + 1, c + 1, rows, columns) for r, c in cells])
        visible.append([r < rows and c < columns for r, c in cells])
    return torch.tensor(places, dtype=torch.float64), torch.tensor(visible)


def before(weights, name, number, x, visible):
    """The task's token before all others; it is always seen."""
    token = weights[name][number].expand(len(x), 1, -1)
    seen = torch.ones(len(x), 1, dtype=torch.bool)
    return torch.cat([token, x], dim=1), torch.cat([seen, visible], dim=1)


def picture(weights, batch, on):
    """Section 3.1 -> what the decoder looks at, where it stands, and whether it may."""
    conv = "image_encoder.backbone.conv"
    cells = F.conv2d(
        batch["image"], weights[f"{conv}.weight"], weights[f"{conv}.bias"], stride=CELL
    )
    cells = cells.tanh().flatten(2).transpose(1, 2)
    proj = "image_encoder.input_proj"
    cells = cells @ weights[f"{proj}.weight"][:, :, 0, 0].T + weights[f"{proj}.bias"]
    places, visible = grid_of(batch)
    x, at, seen = cells, places, visible
    if on.image_token:
        name = "image_encoder.task_embed.weight"
        x, seen = before(weights, name, NUMBER[batch["task"]], x, seen)
        at = torch.cat([torch.zeros(3, 1, IMAGE, dtype=torch.float64), at], dim=1)
    x = encoder(weights, "image_encoder.transformer", x, at, seen, torch.relu, DETR_EPS)
    x = x[:, 1:] if on.image_token else x
    x = x + cells if on.residual else x
    return linear(weights, "image_proj", x), linear(weights, "image_pos_proj", places), visible


def text(weights, batch, on):
    """Section 3.2 -> as `picture`."""
    bert, visible = "text_encoder.bert", batch["attention_mask"] > 0
    positions = weights[f"{bert}.pos_embed.weight"][:WORDS]
    x = weights[f"{bert}.word_embed.weight"][batch["input_ids"]] + positions
    x = x + weights[f"{bert}.token_type_embed.weight"][batch["token_type_ids"]]
    x, seen = norm(weights, f"{bert}.embed_norm", x, BERT_EPS), visible
    if on.text_token:
        name = "text_encoder.task_embed.weight"
        x, seen = before(weights, name, NUMBER[batch["task"]], x, seen)
    x = encoder(weights, f"{bert}.transformer", x, 0, seen, gelu, BERT_EPS)
    x = x[:, 1:] if on.text_token else x
    places = positions.expand(len(x), -1, -1)
    if batch["task"] in ("claim", "read") and not on.all_words:
        x, places, visible = x[:, :1], places[:, :1], visible[:, :1]
    return linear(weights, "text_proj", x), linear(weights, "text_pos_proj", places), visible


def decoded(weights, batch, on):
    """Section 3.3 -> what the queries know after each block, (l, b, q, width)."""
    task = TASKS[NUMBER[batch["task"]]]
    shown = [picture(weights, batch, on)] if task.image else []
    shown += [text(weights, batch, on)] if task.text else []
    memory, places, visible = (torch.cat(parts, dim=1) for parts in zip(*shown, strict=True))
    table, row = QUERIES[task.name]
    queries = weights[f"query_embed.{table}"][row].expand(len(memory), -1, -1)
    decoder = f"decoders.{0 if on.shared else NUMBER[task.name]}"
    everything = torch.ones(queries.shape[:2], dtype=torch.bool)
    x, states = torch.zeros_like(queries), []
    for number in range(DEPTH):
        block = f"{decoder}.blocks.{number}"
        asked = x + queries
        x = x + attention(weights, f"{block}.self_attention", asked, asked, x, everything)
        x = norm(weights, f"{block}.norm1", x, DETR_EPS)
        x = x + attention(
            weights, f"{block}.cross_attention", x + queries, memory + places, memory, visible
        )
        x = norm(weights, f"{block}.norm2", x, DETR_EPS)
        x = x + mlp(weights, f"{block}.mlp", x, torch.relu)
        x = norm(weights, f"{block}.norm3", x, DETR_EPS)
        states.append(norm(weights, f"{decoder}.norm", x, DETR_EPS))
    return torch.stack(states)


def answered(weights, batch, on):
    """Section 3.4: BERT's head on the first query's state alone -> (b, classes)."""
    head, state = f"heads.{batch['task']}.classifier", decoded(weights, batch, on)[-1, :, 0]
    x = norm(weights, f"{head}.norm", gelu(linear(weights, f"{head}.dense", state)), BERT_EPS)
    return x @ weights[f"{head}.decoder"].T + weights[f"{head}.bias"]


def detected(weights, batch, on):
    """Section 3.4, and attributes of the class that is likeliest -> picture by picture."""
    name, states = batch["task"], decoded(weights, batch, on)[-1]
    shares = linear(weights, f"heads.{name}.class_embed", states).exp()
    shares = shares / shares.sum(dim=-1, keepdim=True)
    scores, labels = shares[..., :-1].max(dim=-1)
    x = states
    for layer in (0, 2):
        x = torch.relu(linear(weights, f"heads.{name}.bbox_embed.{layer}", x))
    x = 1 / (1 + (-linear(weights, f"heads.{name}.bbox_embed.4", x)).exp())
    found = []
    for row, (height, width) in enumerate(batch["sizes"].tolist()):
        cx, cy, w, h = x[row].unbind(dim=1)
        corners = [(cx - w / 2) * width, (cy - h / 2) * height,
                   (cx + w / 2) * width, (cy + h / 2) * height]  # fmt: skip
        told = {"boxes": torch.stack(corners, dim=1), "scores": scores[row], "labels": labels[row]}
        if TASKS[NUMBER[name]].attributes:
            told["attributes"] = attributes(weights, name, states[row], labels[row], on)
        found.append(told)
    return found


def attributes(weights, name, states, labels, on):
    """A box's state and its class's own vector, side by side, through two layers."""
    head = f"attribute_heads.{name}"
    x = torch.cat([states, weights[f"{head}.class_embed.weight"][labels]], dim=1)
    x = linear(weights, f"{head}.layers.0", x)
    if on.relu == "last":
        return torch.relu(linear(weights, f"{head}.layers.1", x))
    return linear(weights, f"{head}.layers.2", torch.relu(x))


# The comparison.


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("name", NUMBER)
def test_states_of_each_block(model, name, padded):
    unit, on = model
    batch = batch_of(name, seed=NUMBER[name], padded=padded)
    same(unit.decode(batch), decoded(unit.state_dict(), batch, on))


@pytest.mark.parametrize("name", ["ask", "claim", "read"])
def test_answers(model, name):
    unit, on = model
    batch = batch_of(name, seed=10, padded=True)
    same(unit.scores(batch), answered(unit.state_dict(), batch, on))


@pytest.mark.parametrize("name", ["boxes", "named"])
def test_boxes_classes_and_attributes(model, name):
    unit, on = model
    batch = batch_of(name, seed=20, padded=False)
    found, expected = unit.detect(batch), detected(unit.state_dict(), batch, on)
    assert len({int(label) for told in expected for label in told["labels"]}) > 1
    for ours, theirs in zip(found, expected, strict=True):
        assert set(ours) == set(theirs)
        for part, value in theirs.items():
            same(ours[part], value)


def test_every_weight_is_read(model):
    """The restatement leaves none aside: of all tasks together, each weight has a gradient."""
    unit, on = model
    weights = {name: w.clone().requires_grad_() for name, w in unit.state_dict().items()}
    told = []
    for name, number in NUMBER.items():
        batch = batch_of(name, seed=30, padded=True)
        if TASKS[number].kind == "answer":
            told.append(answered(weights, batch, on))
        else:
            told += [part for found in detected(weights, batch, on) for part in found.values()]
    sum(part.sum() for part in told if part.is_floating_point()).backward()
    assert [name for name, w in weights.items() if w.grad is None] == []
