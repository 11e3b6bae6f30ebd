"""UniT on drawn weights: what tells tasks apart, what options do, what padding must not do."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minivl.errors import UserError
from minivl.models.unit import Unit, UnitTask, task_queries
from minivl.models.unit_encoders import UnitImageEncoder, UnitTextEncoder
from minivl.models.unit_heads import AttributeHead
from minivl.nn.bert import Bert
from minivl.nn.resnet import SmallCNN
from minivl.objectives import detection

BOXES = UnitTask("boxes", "boxes", classes=3, queries=4)
NAMED = UnitTask("named", "boxes", classes=3, queries=4, attributes=5)
ASK = UnitTask("ask", "answer", classes=6, queries=2, text=True, soft=True)
CLAIM = UnitTask("claim", "answer", classes=3, queries=2, text=True, first_word_only=True)
READ = UnitTask("read", "answer", classes=2, queries=2, image=False, text=True)
TASKS = (BOXES, NAMED, ASK, CLAIM, READ)


class Stripes(nn.Module):
    """A backbone that looks at each 8 x 8 pixels alone, so that no cell sees beyond a picture."""

    channels = 6

    def __init__(self):
        super().__init__()
        self.cells = nn.Conv2d(3, 6, kernel_size=8, stride=8)

    def forward(self, image):
        return self.cells(image).tanh()


def build(tasks=TASKS, *, image=None, text=None, backbone=None, **options):
    """A small one; `image` and `text`: options of the encoders."""
    image_encoder = UnitImageEncoder(
        backbone or Stripes(), width=8, depth=1, heads=2, tasks=len(tasks), **(image or {})
    )
    bert = Bert(vocab_size=20, width=12, depth=1, heads=2, max_length=9)
    text_encoder = UnitTextEncoder(bert, tasks=len(tasks), **(text or {}))
    return Unit(image_encoder, text_encoder, tasks, width=16, depth=2, heads=2, **options)


@pytest.fixture
def model(drawn):
    return drawn(build())


def batch_of(task, size=3, seed=0, side=24):
    generator = torch.Generator().manual_seed(seed)
    batch = {"task": task.name}
    if task.image:
        batch["image"] = torch.randn(size, 3, side, side, generator=generator).double()
    if task.text:
        seen = torch.arange(6) < torch.tensor([[6], [4], [2]])[:size]
        ids = torch.randint(1, 20, (size, 6), generator=generator)
        batch |= {"input_ids": ids * seen, "attention_mask": seen}
        batch["token_type_ids"] = (torch.arange(6) > 2).long() * seen
    if task.kind == "boxes":
        labels = torch.tensor([[0, 2], [1, -100], [-100, -100]])[:size]
        centres = 0.2 + 0.6 * torch.rand(size, 2, 2, generator=generator).double()
        sides = 0.1 + 0.3 * torch.rand(size, 2, 2, generator=generator).double()
        batch |= {"box_labels": labels, "boxes": torch.cat([centres, sides], dim=2)}
    if task.attributes:
        batch["attribute_labels"] = torch.tensor([[[0, 3], [4, -100]], [[1, 2], [-100, -100]],
                                                  [[-100, -100], [-100, -100]]])[:size]  # fmt: skip
    if task.soft:
        batch["answer_shares"] = torch.rand(size, task.classes, generator=generator).double()
    if task.kind == "answer":
        batch["labels"] = torch.arange(size) % task.classes
    return batch


# Queries.


def test_task_queries_are_the_task_s_own_rows_for_each_example():
    table = torch.arange(1.0, 9).view(2, 2, 2).requires_grad_()
    queries = task_queries(table, 1, 2)
    assert queries.tolist() == [[[5, 6], [7, 8]]] * 2
    (gradient,) = torch.autograd.grad(queries.sum(), table)
    assert gradient.tolist() == [[[0, 0], [0, 0]], [[2, 2], [2, 2]]]


def test_each_task_asks_by_queries_of_its_own(model):
    asked = {task.name: model.queries(task, 1) for task in TASKS}
    assert [len(q[0]) for q in asked.values()] == [4, 4, 2, 2, 2]
    rows = torch.cat([q[0] for q in asked.values()])
    assert len(torch.unique(rows, dim=0)) == len(rows)
    assert sum(table.numel() for table in model.query_embed.values()) == rows.numel()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_moves_what_it_uses_and_nothing_of_the_others(model, task):
    sum(model(batch_of(task)).values()).backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    heads = {name.split(".")[1] for name in moved if name.startswith(("heads.", "attribute_"))}
    assert heads == {task.name}
    assert any(name.startswith("image_encoder.") for name in moved) == task.image
    assert any(name.startswith("text_encoder.") for name in moved) == task.text
    assert any(name.startswith("decoders.0.") for name in moved)
    number = TASKS.index(task)
    for encoder in ("image_encoder", "text_encoder"):
        gradient = model.get_submodule(encoder).task_embed.weight.grad
        if gradient is not None:
            assert gradient.any(dim=1).nonzero().flatten().tolist() == [number]


def test_losses_by_name(model):
    expected = {
        "boxes": ("class", "l1", "giou"),
        "named": ("class", "l1", "giou", "attributes"),
        "ask": ("answer",),
        "claim": ("answer",),
        "read": ("answer",),
    }
    for task in TASKS:
        losses = model(batch_of(task))
        assert set(losses) == {f"{task.name}/{name}" for name in expected[task.name]}
        assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())


# Losses.


def test_boxes_are_learned_after_each_block_and_each_is_matched_anew(model):
    batch = batch_of(BOXES)
    expected = {"ce": 0.0, "l1": 0.0, "giou": 0.0}
    logits, boxes = model.heads["boxes"](model.decode(batch))
    assert len(logits) == 2
    for of_block, at in zip(logits, boxes, strict=True):
        given = of_block, at
        matched = detection.match(*given, batch["box_labels"], batch["boxes"])
        found = detection.batch_set_loss(*given, matched, batch["box_labels"], batch["boxes"])
        expected = {name: expected[name] + found[name] for name in expected}
    losses = model(batch)
    for name, loss in zip(("class", "l1", "giou"), expected.values(), strict=True):
        torch.testing.assert_close(losses[f"boxes/{name}"], loss)


def test_attributes_are_judged_by_the_state_that_answers_for_the_box_and_its_true_class(model):
    batch = batch_of(NAMED)
    expected = 0.0
    for states in model.decode(batch):
        logits, boxes = model.heads["named"](states)
        matched = detection.match(logits, boxes, batch["box_labels"], batch["boxes"])
        each = []
        for picture in range(3):
            for box in range(2):
                attributes = batch["attribute_labels"][picture, box]
                attributes = attributes[attributes >= 0]
                if len(attributes):
                    state = states[picture, matched[picture, box]]
                    scores = model.attribute_heads["named"](
                        state, batch["box_labels"][picture, box]
                    )
                    each.append(F.cross_entropy(scores.expand(len(attributes), -1), attributes))
        expected = expected + 0.5 * sum(each) / len(each)
    torch.testing.assert_close(model(batch)["named/attributes"], expected)


def test_the_published_attributes_head_never_scores_below_zero():
    torch.manual_seed(0)
    states, classes = torch.randn(40, 16), torch.randint(3, (40,))
    usual = AttributeHead(16, 3, 5)(states, classes)
    published = AttributeHead(16, 3, 5, relu="last")
    assert usual.min() < 0
    assert published(states, classes).min() == 0
    # No bend between its layers: one linear map, cut at zero.
    first, second, _ = published.layers
    known = torch.cat([states, published.class_embed(classes)], dim=1)
    line = known @ (second.weight @ first.weight).T + second.weight @ first.bias + second.bias
    torch.testing.assert_close(published(states, classes), line.clamp(min=0), atol=1e-5, rtol=1e-4)


def test_an_answer_is_the_first_query_s(model):
    batch = batch_of(CLAIM)
    states = model.decode(batch)[-1]
    changed = states.clone()
    changed[:, 1] += 1
    torch.testing.assert_close(model.heads["claim"](states), model.heads["claim"](changed))
    logits = model.scores(batch)
    torch.testing.assert_close(model.heads["claim"](states), logits)
    expected = F.cross_entropy(logits, batch["labels"])
    torch.testing.assert_close(model(batch)["claim/answer"], expected)


def test_soft_answers_are_each_a_yes_or_no(model):
    batch = batch_of(ASK)
    mean = F.binary_cross_entropy_with_logits(model.scores(batch), batch["answer_shares"])
    torch.testing.assert_close(model(batch)["ask/answer"], mean * ASK.classes)


def test_answers_may_be_learned_after_each_block(drawn):
    model = drawn(build(all_blocks_answer=True))
    batch = batch_of(CLAIM)
    logits = model.heads["claim"](model.decode(batch))
    expected = sum(F.cross_entropy(block, batch["labels"]) for block in logits)
    torch.testing.assert_close(model(batch)["claim/answer"], expected)


def test_more_room_than_answers_changes_shapes_and_never_an_answer(drawn):
    roomy = UnitTask("ask", "answer", classes=6, queries=2, text=True, soft=True, room=9)
    found = UnitTask("boxes", "boxes", classes=3, queries=4, room=7)
    model = drawn(build((found, roomy)))
    batch = batch_of(roomy)
    assert model.heads["ask"](model.decode(batch)[-1]).shape == (3, 9)
    assert model.scores(batch).shape == (3, 6)
    assert model(batch)["ask/answer"].isfinite()
    with torch.no_grad():
        model.heads["boxes"].class_embed.bias[5] = 99
    assert all(one["labels"].max() < 3 for one in model.detect(batch_of(found)))


# Encoders.


def test_without_its_additions_an_image_encoder_is_a_plain_transformer(drawn):
    with_all = drawn(build())
    image = batch_of(BOXES)["image"]
    encoder = with_all.image_encoder
    cells = encoder.input_proj(encoder.backbone(image)).flatten(2).mT
    states, places, visible = encoder(image, 0)
    assert visible.all() and places.shape == states.shape == (3, 9, 8)
    encoder.residual = False
    torch.testing.assert_close(states, encoder(image, 0).states + cells)
    assert not torch.allclose(encoder(image, 0).states, encoder(image, 1).states)
    encoder.task_embed = None
    plain = encoder.norm(encoder.transformer(cells, places=places))
    torch.testing.assert_close(encoder(image, 0).states, plain)


def test_the_task_token_of_words_stands_behind_the_embedding_layer(model):
    encoder, batch = model.text_encoder, batch_of(READ)
    given = batch["input_ids"], batch["attention_mask"]
    token = encoder.task_embed.weight[4].expand(3, 1, -1)
    x = torch.cat([token, encoder.bert.embed(given[0], batch["token_type_ids"])], dim=1)
    seen = F.pad(given[1], (1, 0), value=True)
    expected = encoder.bert.transformer(x, seen)[:, 1:]
    states, places, visible = encoder(*given, 4, batch["token_type_ids"])
    torch.testing.assert_close(states, expected)
    assert torch.equal(visible, given[1])
    torch.testing.assert_close(places[2], encoder.bert.pos_embed.weight[:6])


@pytest.mark.parametrize("which", ["image", "text"])
def test_task_tokens_can_be_left_out(drawn, which):
    model = drawn(build(**{which: {"task_token": False}}))
    encoder = model.get_submodule(f"{which}_encoder")
    assert encoder.task_embed is None
    for task in TASKS:
        assert all(loss.isfinite() for loss in model(batch_of(task)).values())


def test_the_decoder_sees_the_picture_first_then_all_words_or_cls_alone(model):
    seen = model.encode(batch_of(ASK), ASK)
    assert seen.states.shape == seen.places.shape == (3, 9 + 6, 16)
    assert seen.visible[2].tolist() == [True] * 11 + [False] * 4
    assert model.encode(batch_of(CLAIM), CLAIM).states.shape == (3, 9 + 1, 16)
    assert model.encode(batch_of(READ), READ).states.shape == (3, 6, 16)
    states, maps = model.decode(batch_of(ASK), return_attention=True)
    torch.testing.assert_close(states, model.decode(batch_of(ASK)))
    assert [m.shape for m in maps] == [(3, 2, 2, 15)] * 2
    assert maps[0][2, :, :, 11:].abs().max() == 0
    torch.testing.assert_close(maps[1].sum(dim=-1), torch.ones(3, 2, 2).double())


# Padding.


def test_what_stands_beside_a_picture_is_never_looked_at(model):
    small = batch_of(BOXES, side=16)
    framed = {
        **small,
        "image": F.pad(small["image"], (0, 16, 0, 8), value=7.0),
        "pixel_mask": F.pad(torch.ones(3, 16, 16, dtype=torch.bool), (0, 16, 0, 8)),
    }
    torch.testing.assert_close(model.decode(framed), model.decode(small))
    for name, loss in model(small).items():
        torch.testing.assert_close(model(framed)[name], loss)


def test_padding_of_words_is_never_looked_at(model):
    batch = batch_of(ASK)
    longer = batch | {
        name: F.pad(batch[name], (0, 3), value=0)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    torch.testing.assert_close(model.scores(longer), model.scores(batch))


# Decoders.


def test_a_decoder_for_each_task(drawn):
    model = drawn(build(shared=False))
    assert len(model.decoders) == len(TASKS)
    sum(model(batch_of(ASK)).values()).backward()
    used = [any(p.grad is not None for p in one.parameters()) for one in model.decoders]
    assert used == [task is ASK for task in TASKS]


@pytest.mark.parametrize(
    ("shared", "init", "xavier"),
    [(True, "xavier", True), (True, "official", True), (False, "xavier", True),
     (False, "official", False)],
)  # fmt: skip
def test_separate_decoders_start_as_torch_has_them_in_the_published_code(shared, init, xavier):
    torch.manual_seed(0)
    model = build(shared=shared, init=init)
    weight = model.decoders[0].blocks[0].mlp.fc1.weight  # (64, 16)
    glorot, torchs = math.sqrt(6 / (64 + 16)), 1 / math.sqrt(16)
    bound = glorot if xavier else torchs
    assert 0.95 * bound < weight.abs().max() <= bound


def test_equal_widths_need_no_projection_of_pictures():
    image_encoder = UnitImageEncoder(Stripes(), width=16, depth=1, heads=2, tasks=1)
    model = Unit(image_encoder, None, [BOXES], width=16, depth=1, heads=2)
    assert isinstance(model.image_proj, nn.Identity)
    assert not any("text" in name for name, _ in model.named_parameters())


# Finding.


def test_boxes_are_told_in_pixels_of_the_original(model):
    batch = batch_of(NAMED) | {"sizes": torch.tensor([[100, 200], [24, 24], [10, 40]])}
    logits, boxes = model.heads["named"](model.decode(batch)[-1])
    for number, (found, (height, width)) in enumerate(
        zip(model.detect(batch), batch["sizes"].tolist(), strict=True)
    ):
        x, y, w, h = boxes[number].unbind(dim=1)
        expected = torch.stack([(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width,
                                (y + h / 2) * height], dim=1)  # fmt: skip
        torch.testing.assert_close(found["boxes"], expected)
        likely = logits[number].softmax(dim=1)[:, :3]
        torch.testing.assert_close(found["scores"], likely.max(dim=1).values)
        assert torch.equal(found["labels"], likely.argmax(dim=1))
        assert found["attributes"].shape == (4, 5)
    without = {name: value for name, value in batch.items() if name != "sizes"}
    torch.testing.assert_close(model.detect(without)[1]["boxes"], model.detect(batch)[1]["boxes"])


def test_one_task_s_own_view_needs_no_name(model):
    batch = batch_of(CLAIM)
    unnamed = {name: value for name, value in batch.items() if name != "task"}
    torch.testing.assert_close(model.for_task("claim").scores(unnamed), model.scores(batch))


def test_more_boxes_than_queries_are_refused(model):
    batch = batch_of(BOXES)
    batch["box_labels"] = torch.zeros(3, 5, dtype=torch.int64)
    batch["boxes"] = torch.full((3, 5, 4), 0.5).double()
    with pytest.raises(UserError, match="5 boxes, and the task 4 queries"):
        model(batch)


def test_it_learns_to_find(drawn):
    """One bright square on noise, of two kinds: after some steps it is found and named."""
    torch.manual_seed(0)
    task = UnitTask("boxes", "boxes", classes=2, queries=3)
    model = build((task,), backbone=SmallCNN(16, stride=8), norm="pre")
    made = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        kinds = torch.randint(2, (32,))
        image = 0.1 * torch.randn(32, 3, 32, 32)
        place = torch.randint(4, (32,))
        for row, (kind, at) in enumerate(zip(kinds, place, strict=True)):
            x, y = 16 * (at % 2), 16 * (at // 2)
            image[row, kind, y : y + 16, x : x + 16] += 2
        centres = torch.stack([0.25 + 0.5 * (place % 2), 0.25 + 0.5 * (place // 2)], dim=1)
        boxes = torch.cat([centres, torch.full((32, 2), 0.5)], dim=1).unsqueeze(1)
        batch = {"task": "boxes", "image": image, "boxes": boxes, "box_labels": kinds[:, None]}
        found = model(batch)
        loss = found["boxes/class"] + 5 * found["boxes/l1"] + 2 * found["boxes/giou"]
        made.zero_grad()
        loss.backward()
        made.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
