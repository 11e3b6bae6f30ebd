"""ALBEF's step, read and fast; its twin and queues; its options; its exits."""

import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from minivl.course.plug import plugged
from minivl.models import albef
from minivl.models.albef import OBJECTIVES, Albef, enqueue_in_place
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT
from minivl.objectives import contrastive, matching, momentum

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
WORDS, PAD, MASK, LONGEST = 23, 0, 4, 6
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(OBJECTIVES, n)]


def build(norm="post", stem="patch", dropout=0.0, **options):
    vit = ViT(image_size=8, patch_size=4, width=10, depth=2, heads=2, stem=stem)
    words = {"vocab_size": WORDS, "width": 12, "depth": 2, "heads": 2, "max_length": LONGEST}
    bert = Bert(**words, norm=norm, dropout=dropout)
    fusion = FusionEncoder(12, 2, 3, context_width=10, norm=norm, dropout=dropout)
    return Albef(vit, bert, fusion, **{"embed_dim": 6, "queue_size": 7} | options)


def batch_of(rows, length=LONGEST, seed=0, asked=0.4, captions=None, pictures=None):
    """Pairs of several lengths. captions, pictures: how many different ones there are at most."""
    generator = torch.Generator().manual_seed(seed)

    def whole(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    lengths, ids = whole(1, length + 1, rows, 1), whole(5, WORDS, rows, length)
    seen = torch.arange(length) < lengths
    if captions is not None:
        which = whole(0, min(captions, rows), rows)
        ids, seen = ids[which], seen[which]
    ids = ids.masked_fill(~seen, PAD)
    holes = (torch.rand(rows, length, generator=generator) < asked) & seen
    batch = {
        "image": torch.randn(rows, 3, 8, 8, generator=generator, dtype=torch.float64),
        "input_ids": ids,
        "attention_mask": seen,
        "mlm_input_ids": ids.masked_fill(holes, MASK),
        "mlm_labels": ids.masked_fill(~holes, -100),
    }
    return batch if pictures is None else batch | {"picture_ids": whole(0, pictures, rows)}


@pytest.fixture(scope="module")
def make(drawn):
    """make(...): a training model whose every weight was drawn, in float64; its twin lags."""

    def drawn_model(seed=0, **options):
        torch.manual_seed(seed)  # the queues start with noise
        model = drawn(build(**options), seed).train()
        model.momentum, model.alpha = 0.9, 0.4
        with torch.no_grad():
            model.temperature.fill_(0.2)
        return model

    return drawn_model


def learn(model, batch, seed=5):
    """Losses, all gradients, and all that the step leaves behind."""
    model.zero_grad()
    torch.manual_seed(seed)
    losses = model(batch)
    sum(losses.values()).backward()
    return {
        "losses": losses,
        "gradients": {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad},
        "state": copy.deepcopy(model.state_dict()),
        "monitors": model.monitors,
        "draws": torch.get_rng_state(),
    }


# Both steps.

OPTIONS = st.fixed_dictionaries(
    {
        "objectives": st.sampled_from(SUBSETS),
        "distill": st.sampled_from([(), ("itc",), ("mlm",), ("itc", "mlm")]),
        "queue_size": st.sampled_from([0, 5, 7, 10]),
        "negatives": st.sampled_from(["hard", "random"]),
        "exclude": st.sampled_from(["same", "picture", "diagonal"]),
        "sampler": st.sampled_from(["uniform", "multinomial"]),
        "id_targets": st.booleans(),
        "image_pool": st.sampled_from(["cls", "mean"]),
        "text_pool": st.sampled_from(["cls", "mean"]),
        "norm": st.sampled_from(["post", "pre"]),
        "stem": st.sampled_from(["patch", "conv"]),
    }
)
BATCHES = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 5),
        "length": st.integers(1, LONGEST),
        "seed": st.integers(0, 999),
        "asked": st.sampled_from([0.0, 0.2, 1.0]),
        "captions": st.sampled_from([1, 2, 5]),
        "pictures": st.sampled_from([1, 3, 9]),
    }
)
ALPHA = st.sampled_from([0.0, 0.4, 1.0])


@settings(max_examples=25, deadline=None)
@given(options=OPTIONS, given=BATCHES, alpha=ALPHA)
def test_the_fused_step_is_the_reference(make, options, given, alpha):
    """In all that they leave behind, over two steps with other weights and a later queue."""
    read = make(**options, step="reference")
    fast = copy.deepcopy(read)
    fast.step = "fused"
    for step in range(2):
        batch = batch_of(**given | {"seed": given["seed"] + step})
        found = []
        for model in (read, fast):
            model.alpha = alpha
            found.append(learn(model, batch, seed=step))
            # Equal captions are equally similar: the last bit says which is first.
            found[-1]["monitors"].pop("itc_accuracy", None)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter -= 0.01 * parameter.grad.clamp(-1, 1)
        torch.testing.assert_close(found[1], found[0], **CLOSE)
        assert all(loss.isfinite() for loss in found[0]["losses"].values())
        assert set(found[0]["losses"]) == set(options["objectives"])


@pytest.mark.parametrize("step", ["reference", "fused"])
def test_the_losses_are_the_papers(make, step):
    """Told again in plain tensors: the twin follows, then come contrast, matching, masking."""
    model, batch = make(step=step), batch_of(4)
    image, ids, seen = batch["image"], batch["input_ids"], batch["attention_mask"]
    student = copy.deepcopy(model)
    twin = copy.deepcopy(model.momentum_encoder)
    with torch.no_grad():
        for name, weight in twin.named_parameters():
            weight.mul_(0.9).add_(0.1 * student.get_parameter(name))
    queues, tau = (student.image_queue, student.text_queue), 0.2
    unit = {}
    for name, encoders in (("student", student), ("twin", twin)):
        image_states = encoders.image_encoder(image)
        text_states = encoders.text_encoder(ids, seen)
        unit[name] = [
            F.normalize(encoders.image_proj(image_states[:, 0]), dim=1),
            F.normalize(encoders.text_proj(text_states[:, 0]), dim=1),
        ]

    expected, similar = {}, []
    itc = 0
    for own, other in ((0, 1), (1, 0)):
        keys = torch.cat([unit["twin"][other].T, queues[other]], dim=1)
        logits = unit["student"][own] @ keys / tau
        soft = (unit["twin"][own] @ keys / tau).softmax(dim=1)
        targets = 0.4 * soft + 0.6 * torch.eye(4, 11, dtype=soft.dtype)
        itc -= (targets * logits.log_softmax(dim=1)).sum(dim=1).mean() / 2
        similar.append(logits[:, :4])
    expected["itc"] = itc

    tokens, states = student.image_encoder(image), student.text_encoder(ids, seen)
    torch.manual_seed(5)
    wrong = []
    for one in (similar[1], similar[0]):  # a picture for each text, then a text for each picture
        weights = one.softmax(dim=1) * (1 - torch.eye(4, dtype=torch.float64))
        u = torch.rand(4, dtype=torch.float64) * weights.sum(dim=1)
        wrong.append([int((weights[i].cumsum(0) > u[i]).int().argmax()) for i in range(4)])
    rows = [(i, i, 1) for i in range(4)]
    rows += [(wrong[0][i], i, 0) for i in range(4)] + [(i, wrong[1][i], 0) for i in range(4)]
    itm = 0
    for picture, text, label in rows:
        fused = student.fusion_encoder(states[[text]], tokens[[picture]], seen[[text]])
        itm -= student.itm_head(fused[0, 0]).log_softmax(0)[label] / 12
    expected["itm"] = itm

    scores = {}
    for name, encoders in (("student", student), ("twin", twin)):
        holed = encoders.text_encoder(batch["mlm_input_ids"], seen)
        fused = encoders.fusion_encoder(holed, encoders.image_encoder(image), seen)
        table = encoders.text_encoder.word_embed.weight
        scores[name] = encoders.mlm_head(fused, table)[batch["mlm_labels"] != -100]
    log_p, labels = scores["student"].log_softmax(1), batch["mlm_labels"]
    hard = -log_p.gather(1, labels[labels != -100].unsqueeze(1)).mean()
    soft = -(scores["twin"].softmax(1) * log_p).sum(1).mean()
    expected["mlm"] = 0.6 * hard + 0.4 * soft

    found = learn(model, batch)
    torch.testing.assert_close(found["losses"], expected, rtol=1e-10, atol=1e-10)
    for name, weight in twin.named_parameters():
        torch.testing.assert_close(model.momentum_encoder.get_parameter(name), weight, **CLOSE)
    for queue, before, keys in zip(
        (model.image_queue, model.text_queue), queues, unit["twin"], strict=True
    ):
        torch.testing.assert_close(queue, torch.cat([keys.T, before[:, 4:]], dim=1), **CLOSE)
    assert model.queue_pointer == 4


def test_first_losses_are_those_of_who_knows_nothing():
    """Of k answers that are alike one pays ln k."""
    torch.manual_seed(0)
    model = build(queue_size=100).double().train()
    model.alpha = 0.0
    with torch.no_grad():
        model.temperature.fill_(0.5)  # random vectors differ much: not to be made louder
    losses = model(batch_of(20))
    for name, choices in {"itc": 120, "itm": 2, "mlm": WORDS}.items():
        assert losses[name].item() == pytest.approx(math.log(choices), abs=0.5), name


# What runs.


def calls_of(model, batch):
    """Rows that went through the first blocks of each encoder, in fusion those that told themselves
    what they say and those that looked; pictures' keys and values; words."""
    calls, handles = {}, []

    def count(name, module, size=len):
        handles.append(module.register_forward_hook(
            lambda m, given, out: calls.setdefault(name, []).append(size(out))
        ))  # fmt: skip

    for name, encoders in (("", model), ("twin ", model.momentum_encoder)):
        count(f"{name}image", encoders.image_encoder.transformer.blocks[0].norm1)
        count(f"{name}text", encoders.text_encoder.transformer.blocks[0].norm1)
        count(f"{name}told", encoders.fusion_encoder.blocks[0].self_attention.k_proj)
        count(f"{name}fusion", encoders.fusion_encoder.blocks[0].norm2)
        count(f"{name}keys", encoders.fusion_encoder.blocks[0].cross_attention.k_proj)
        head = encoders.mlm_head
        count(f"{name}words", head, size=lambda out: out[..., 0].numel())
    model(batch)
    for handle in handles:
        handle.remove()
    return calls


FAST = {
    ("itc", "itm", "mlm"): {
        "image": [5], "text": [10], "told": [10], "fusion": [20], "keys": [5], "words": [6],
        "twin image": [5], "twin text": [10], "twin told": [5], "twin fusion": [5],
        "twin keys": [5], "twin words": [6],
    },
    ("itc",): {"image": [5], "text": [5], "twin image": [5], "twin text": [5]},
    ("itm",): {
        "image": [5], "text": [5], "told": [5], "fusion": [15], "keys": [5],
        "twin image": [5], "twin text": [5],
    },
    ("mlm",): {
        "image": [5], "text": [5], "told": [5], "fusion": [5], "keys": [5], "words": [6],
        "twin image": [5], "twin text": [5], "twin told": [5], "twin fusion": [5],
        "twin keys": [5], "twin words": [6],
    },
}  # fmt: skip
READ = {
    ("itc", "itm", "mlm"): {
        "image": [5], "text": [5, 5], "told": [5, 10, 5], "fusion": [5, 10, 5],
        "keys": [5, 10, 5], "words": [30],
        "twin image": [5], "twin text": [5, 5], "twin told": [5], "twin fusion": [5],
        "twin keys": [5], "twin words": [30],
    },
    ("itc",): FAST["itc",],
}  # fmt: skip


@pytest.mark.parametrize("step, expected", [("fused", FAST), ("reference", READ)])
def test_the_passes_are_those_that_a_loss_reads(make, step, expected):
    batch = batch_of(5, seed=1)
    assert (batch["mlm_labels"] != -100).sum() == 6
    for objectives, calls in expected.items():
        assert calls_of(make(objectives=objectives, step=step), batch) == calls, objectives


@pytest.mark.parametrize("step", ["fused", "reference"])
def test_an_unread_twin_is_not_asked(make, step):
    batch = batch_of(5, seed=1)
    calls = calls_of(make(distill=("itc",), step=step), batch)
    assert not {"twin told", "twin fusion", "twin words"} & set(calls) and calls["twin text"] == [5]
    for options in (
        {"objectives": ("mlm",), "distill": ()},
        {"objectives": ("itm",), "negatives": "random"},
        {"objectives": ("itm", "mlm"), "negatives": "random", "distill": ("itc",)},
    ):
        assert not any("twin" in name for name in calls_of(make(**options, step=step), batch))


class Waits(TorchDispatchMode):
    """Counts operations whose result a GPU would have to wait for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
        )
        return func(*args, **(kwargs or {}))


class Copies(TorchDispatchMode):
    """Counts operations that make a whole queue, or write one anew."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        makes = (torch.ops.aten.index_copy.default, torch.ops.aten.copy_.default)
        self.count += func in makes and found.shape == (6, 20)
        return found


@pytest.mark.parametrize(("step", "copies"), [("fused", 0), ("reference", 4)])
def test_only_the_reference_copies_its_queues(make, step, copies):
    model = make(queue_size=20, step=step)
    with Copies() as counted:
        model(batch_of(5, seed=1))
    assert counted.count == copies and model.queue_pointer == 5


@given(rows=st.integers(0, 7), pointer=st.integers(0, 6), double=st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_queue_written_in_place_is_the_one_that_is_made_anew(rows, pointer, double):
    generator = torch.Generator().manual_seed(rows)
    queue = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    keys = torch.randn(rows, 3, generator=generator).requires_grad_()
    pointer = torch.tensor(pointer) if double else pointer
    expected, ahead = momentum.enqueue(queue, keys, pointer)
    found, place = enqueue_in_place(queue, keys, pointer)
    assert found is queue and not found.requires_grad and place == ahead
    assert torch.equal(found, expected)


def test_more_keys_than_a_queue_holds_are_refused():
    with pytest.raises(ValueError, match="8 keys, but the queue holds 7"):
        enqueue_in_place(torch.zeros(3, 7), torch.zeros(8, 3), 0)


@pytest.mark.parametrize("step", ["fused", "reference"])
def test_a_learners_queue_is_the_one_that_trains(make, step):
    """In a lesson both ways to write it give way to what was written there."""
    called, own = [], momentum.enqueue

    def enqueue(queue, keys, pointer):
        called.append(len(keys))
        return own(queue, keys, pointer)

    model = make(queue_size=20, step=step)
    with plugged(enqueue):
        model(batch_of(5, seed=1))
    assert called == [5, 5] and model.queue_pointer == 5


@pytest.mark.parametrize("sampler", ["uniform", "multinomial"])
def test_no_sample_makes_the_host_wait(make, sampler):
    """As often for nine pairs as for three."""
    model, counts = make(queue_size=20, sampler=sampler), []
    for rows in (3, 9):
        with Waits() as waits:
            sum(model(batch_of(rows, seed=1)).values()).backward()
        counts.append(waits.count)
    assert counts[0] == counts[1] < 20


@pytest.mark.parametrize("objectives", SUBSETS)
def test_all_that_is_to_learn_learns_and_the_twin_does_not(make, objectives):
    """Several processes wait for the gradient of everything that is to."""
    model = make(objectives=objectives, stem="conv")
    learn(model, batch_of(5, seed=1))
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if name.startswith("momentum_encoder."):
            assert not parameter.requires_grad
        elif parameter.requires_grad and "k_proj.bias" not in name:
            assert parameter.grad.any(), name
    frozen = {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad and not name.startswith("momentum_encoder.")
    }
    expected = {
        "itc": {"image_proj", "text_proj", "temperature"},
        "itm": {"itm_head"},
        "mlm": {"mlm_head"},
    }
    unread = set().union(*(parts for name, parts in expected.items() if name not in objectives))
    assert frozen == unread | ({"fusion_encoder"} if objectives == ("itc",) else set())


# Nothing to lose on.


@pytest.mark.parametrize("step", ["fused", "reference"])
@pytest.mark.parametrize("sampler", ["uniform", "multinomial"])
@pytest.mark.parametrize("negatives", ["hard", "random"])
@pytest.mark.parametrize("given", [{"rows": 1}, {"rows": 3, "captions": 1}])
def test_pairs_without_a_wrong_partner_are_judged_as_right_ones_only(
    make, step, sampler, negatives, given
):
    model = make(step=step, sampler=sampler, negatives=negatives)
    batch = batch_of(**given, seed=3)
    found = learn(model, batch)
    states = model.encode_pair(batch["image"], batch["input_ids"], batch["attention_mask"])
    alone = -model.itm_head(states[:, 0]).log_softmax(dim=1)[:, 1].mean()
    torch.testing.assert_close(found["losses"]["itm"], alone, **CLOSE)
    assert all(gradient.isfinite().all() for gradient in found["gradients"].values())


@pytest.mark.parametrize("step", ["fused", "reference"])
@pytest.mark.parametrize("distill", [(), ("mlm",)])
def test_nothing_hidden_is_0_with_a_graph(make, step, distill):
    model = make(step=step, distill=distill, objectives=("mlm",))
    found = learn(model, batch_of(3, asked=0.0))
    assert found["losses"]["mlm"] == 0
    assert not any(gradient.any() for gradient in found["gradients"].values())
    assert model.monitors["mlm_accuracy"] == 0


# Twin and queues.


def test_the_queue_is_a_ring_written_after_the_logits(make, monkeypatch):
    """Seven columns, five rows: the second batch goes round, and no batch meets itself."""
    model, seen = make(objectives=("itc",)), []
    original = contrastive.itc_with_queue
    monkeypatch.setattr(
        contrastive,
        "itc_with_queue",
        lambda *given: seen.append([one.clone() for one in given[2:6]]) or original(*given),
    )
    for seed in range(2):
        model(batch_of(5, seed=seed))
    (image_1, text_1, *first), (image_2, text_2, *second) = seen
    for before, after, keys, last, now in zip(
        first, second, (image_1, text_1), (image_2, text_2),
        (model.image_queue, model.text_queue), strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(before.norm(dim=0), torch.ones(7).double(), rtol=0, atol=1e-6)
        assert torch.equal(after, torch.cat([keys.T, before[:, 5:]], dim=1))
        assert torch.equal(now, torch.cat([last[2:].T, keys.T[:, 3:], last[:2].T], dim=1))
    assert model.queue_pointer == 3


def test_the_twin_starts_as_a_copy_and_follows_before_it_is_asked(make):
    torch.manual_seed(0)
    fresh = build()
    for name, weight in fresh.momentum_encoder.state_dict().items():
        assert torch.equal(weight, fresh.state_dict()[name]), name
        assert weight.data_ptr() != fresh.state_dict()[name].data_ptr()
    model, batch = make(objectives=("itc",)), batch_of(4)
    model.momentum = 0.0  # after one step the twin is the student
    model(batch)
    with torch.no_grad():
        keys = F.normalize(model.encode_image(batch["image"]), dim=1)
    torch.testing.assert_close(model.image_queue[:, :4], keys.T, **CLOSE)


def test_a_convolutional_stem_of_the_twin_follows_in_its_running_means(make):
    model = make(stem="conv")
    mean = "image_encoder.patch_embed.layers.1.running_mean"
    expected = model.get_buffer(f"momentum_encoder.{mean}").clone()
    for _ in range(2):  # the student sees each batch before its twin follows
        model(batch_of(4))
        expected = 0.9 * expected + 0.1 * model.get_buffer(mean)
    torch.testing.assert_close(model.get_buffer(f"momentum_encoder.{mean}"), expected, **CLOSE)
    assert expected.any()
    counted = mean.replace("running_mean", "num_batches_tracked")
    assert model.get_buffer(f"momentum_encoder.{counted}") == model.get_buffer(counted) == 2


@pytest.mark.parametrize("step", ["fused", "reference"])
def test_evaluation_changes_nothing(make, step):
    for gradients, training in ((True, False), (False, True), (False, False)):
        model = make(step=step, id_targets=True).train(training)
        with torch.no_grad():
            model.temperature.fill_(0.9)
        before = copy.deepcopy(model.state_dict())
        with torch.set_grad_enabled(gradients):
            model(batch_of(4, pictures=3))
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name


def test_twin_and_queues_outlive_the_process(make):
    model = make(id_targets=True)
    model(batch_of(5, pictures=9))
    other = make(seed=1, id_targets=True)
    other.load_state_dict(model.state_dict())
    batch = batch_of(5, seed=1, pictures=9)
    torch.testing.assert_close(learn(other, batch), learn(model, batch), rtol=0, atol=0)
    queues = ("image_queue", "text_queue", "id_queue", "queue_pointer")
    assert set(queues) <= set(model.state_dict())
    assert build().image_queue.dtype == torch.float32
    assert "_alpha" not in model.state_dict()


def test_the_twins_dropout_is_off_unless_chosen():
    for chosen in (False, True):
        model = build(dropout=0.5, momentum_dropout=chosen)
        for training in (True, False):
            model.train(training)
            modes = {type(module): module.training for module in model.momentum_encoder.modules()}
            dropping = modes.pop(nn.Dropout)
            assert dropping == (chosen and training) and not any(modes.values())
            assert all(part.training == training for part in model.text_encoder.modules())


# Options.


@pytest.mark.parametrize("value, clamped", [(0.9, 0.5), (1e-5, 0.001), (0.3, 0.3)])
def test_the_temperature_is_put_back_before_the_step(make, value, clamped):
    model, free = make(), make(temperature_range=None)
    for one in (model, free):
        with torch.no_grad():
            one.temperature.fill_(value)
        one(batch_of(3))
    assert model.temperature.item() == pytest.approx(clamped, rel=1e-12)
    assert model.monitors["temperature"].item() == pytest.approx(clamped, rel=1e-12)
    assert free.temperature.item() == pytest.approx(value, rel=1e-12)


def test_uniform_numbers_come_for_pictures_first(make, monkeypatch):
    given = []
    original = matching.draw_partners
    monkeypatch.setattr(
        matching,
        "draw_partners",
        lambda weights, u: given.append((weights, u)) or original(weights, u),
    )
    model, batch = make(), batch_of(4)
    torch.manual_seed(3)
    model(batch)
    torch.manual_seed(3)
    for _, u in given:
        assert torch.equal(u, torch.rand(4, dtype=torch.float64))
    (of_text, _), (of_image, _) = given
    with torch.no_grad():
        image = F.normalize(model.encode_image(batch["image"]), dim=1)
        text = F.normalize(model.encode_text(batch["input_ids"], batch["attention_mask"]), dim=1)
        twin = model.momentum_encoder
        image_m = F.normalize(twin.encode_image(batch["image"]), dim=1)
        text_m = F.normalize(twin.encode_text(batch["input_ids"], batch["attention_mask"]), dim=1)
    own = torch.eye(4, dtype=torch.bool)
    for weights, logits in ((of_text, text @ image_m.T / 0.2), (of_image, image @ text_m.T / 0.2)):
        expected = matching.hard_negative_weights(logits, own)
        torch.testing.assert_close(weights, expected, **CLOSE)


def test_multinomial_spends_the_numbers_as_the_papers_code(make):
    """There: for each text a picture, row by row, then for each picture a text."""
    model = make(sampler="multinomial", exclude="diagonal")
    weights = torch.rand(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights.fill_diagonal_(0)
    for seed in range(20):
        torch.manual_seed(seed)
        rows = [[torch.multinomial(row, 1).item() for row in weights] for _ in range(2)]
        after = torch.get_rng_state()
        torch.manual_seed(seed)
        assert [model.draw(weights).tolist() for _ in range(2)] == rows
        assert torch.equal(torch.get_rng_state(), after)


def test_what_is_no_wrong_partner(make):
    batch = batch_of(4) | {"picture_ids": torch.tensor([7, 8, 7, 9])}
    batch["input_ids"][3] = batch["input_ids"][1]
    own, captions, pictures = torch.eye(4).bool(), torch.eye(4).bool(), torch.eye(4).bool()
    captions[1, 3] = captions[3, 1] = pictures[0, 2] = pictures[2, 0] = True
    for exclude, expected in (
        ("diagonal", own), ("picture", pictures), ("same", captions | pictures)
    ):  # fmt: skip
        model = make(exclude=exclude)
        assert torch.equal(model.right_partners(batch), expected)
        for _ in range(30):
            near = model.look_around(*summaries_and(model, batch))
            for wrong in model.wrong_partners(near):
                assert not expected[torch.arange(4), wrong].any()
    bare = {name: value for name, value in batch.items() if name != "picture_ids"}
    assert torch.equal(make(exclude="same").right_partners(bare), captions)
    with pytest.raises(ValueError, match="no picture_ids"):
        make(exclude="picture")(bare)


def summaries_and(model, batch):
    """Summaries of a batch, and the batch."""
    from minivl.models import albef_steps

    seen = batch["attention_mask"]
    sides = [
        (one.image_tokens(batch["image"]), one.text_states(batch["input_ids"], seen))
        for one in (model, model.momentum_encoder)
    ]
    return albef_steps.summaries_of(model, *sides, seen), batch


def test_random_partners_are_drawn_alike(make, monkeypatch):
    given = []
    monkeypatch.setattr(
        matching, "draw_partners", lambda weights, u: given.append(weights) or weights.argmax(1)
    )
    make(negatives="random")(batch_of(4))
    alike = (1 - torch.eye(4)) / 3
    assert len(given) == 2
    for weights in given:
        torch.testing.assert_close(weights.float(), alike)


@pytest.mark.parametrize("distill", [(), ("itc",)])
def test_by_ids_all_captions_of_a_picture_are_right(make, distill, monkeypatch):
    model = make(id_targets=True, objectives=("itc",), distill=distill)
    seen = []
    original = contrastive.itc_with_queue
    monkeypatch.setattr(
        contrastive, "itc_with_queue", lambda *given: seen.append(given[-1]) or original(*given)
    )
    monkeypatch.setattr(momentum, "soft_targets", lambda similar, hard, alpha: hard)
    ids = torch.tensor([7, 7, 9])
    assert model.id_queue.tolist() == [[-100] * 7]
    model(batch_of(3) | {"picture_ids": ids})
    assert model.id_queue.tolist() == [[7, 7, 9, -100, -100, -100, -100]]
    model(batch_of(3, seed=1) | {"picture_ids": torch.tensor([9, 8, 7])})
    assert model.id_queue.tolist() == [[7, 7, 9, 9, 8, 7, -100]]
    empty = [0.0] * 7
    first = [[0.5, 0.5, 0, *empty], [0.5, 0.5, 0, *empty], [0, 0, 1, *empty]]
    third = 1 / 3
    second = [
        [0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, third, third, third, 0, 0, 0, 0, 0],
    ]
    for targets, expected in zip(seen, (first, second), strict=True):
        for side in targets:
            torch.testing.assert_close(side, torch.tensor(expected, dtype=side.dtype))
    with pytest.raises(ValueError, match="no picture_ids"):
        model(batch_of(3))


def test_without_distillation_the_label_is_all(make, monkeypatch):
    """So it is with alpha 0; and the twin's share is what alpha says."""
    batch, losses = batch_of(4), {}
    for alpha in (0.0, 0.5, 1.0):
        model = make()
        model.alpha = alpha
        assert model.alpha == alpha
        losses[alpha] = learn(model, batch)["losses"]
    alone = learn(make(distill=()), batch)["losses"]
    torch.testing.assert_close(losses[0.0], alone, **CLOSE)
    for name in ("itc", "mlm"):
        halfway = (losses[0.0][name] + losses[1.0][name]) / 2
        torch.testing.assert_close(losses[0.5][name], halfway, **CLOSE)
        assert (losses[1.0][name] - losses[0.0][name]).abs() > 1e-3


def test_a_model_is_watched(make):
    model = make()
    model(batch_of(5, seed=1))
    watched = {"itc_accuracy", "itm_accuracy", "mlm_accuracy", "target_entropy", "temperature"}
    assert set(model.monitors) == watched
    assert not any(value.requires_grad or value.ndim for value in model.monitors.values())
    model = make(objectives=("itm",))
    model(batch_of(5))
    assert set(model.monitors) == {"itm_accuracy", "temperature"}


def test_what_is_watched_of_contrast_counts_right_ones(make):
    """Of a twin that is the student, each side is nearest to itself where both are made alike."""
    model, batch = make(objectives=("itc",)), batch_of(4, captions=2, seed=2)
    found, _ = summaries_and(model, batch)
    same = matching.same_pairs(batch["input_ids"])
    assert same.sum() > 4, "some captions are alike"
    right = []
    for queries, keys in ((found.text, found.image_m), (found.image, found.text_m)):
        right += [bool(same[i, (queries[i] @ keys.T).argmax()]) for i in range(4)]
    near = model.look_around(found, batch)
    assert near.found_right().item() == pytest.approx(sum(right) / 8)


def test_the_objectives_are_looked_up_when_called(make, monkeypatch):
    """A reader's own functions, put in place of the package's, train this model."""
    batch = batch_of(4)
    monkeypatch.setattr(contrastive, "itc_with_queue", lambda *given: given[0].sum() * 0 + 3)
    monkeypatch.setattr(momentum, "distilled_mlm", lambda *given: given[0].sum() * 0 + 4)
    monkeypatch.setattr(momentum, "ema_update", lambda *_: None)
    # The fused step writes in place, by a twin of enqueue that is exchanged with it.
    for where, name in ((momentum, "enqueue"), (albef, "enqueue_in_place")):
        monkeypatch.setattr(where, name, lambda queue, keys, pointer: (queue + 1, 6))
    for step in ("fused", "reference"):
        model = make(step=step)
        before = copy.deepcopy(model.state_dict())
        losses = model(batch)
        assert losses["itc"].item() == 3 and losses["mlm"].item() == 4
        assert torch.equal(model.image_queue, before["image_queue"] + 1)
        assert model.queue_pointer == 6
        name = "momentum_encoder.image_proj.weight"
        assert torch.equal(model.state_dict()[name], before[name])
    for name in ("itm_batch", "hard_negative_weights", "draw_partners", "same_pairs"):
        with monkeypatch.context() as patch:
            patch.setattr(matching, name, lambda *_: 1 / 0)
            for step in ("fused", "reference"):
                with pytest.raises(ZeroDivisionError):
                    make(step=step)(batch)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"objectives": ()}, "choose among"),
        ({"objectives": ("itc", "mim")}, "choose among"),
        ({"distill": ("itm",)}, "choose among"),
    ],
)
def test_unknown_names_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        build(**options)


def test_more_keys_than_the_queue_holds_are_refused(make):
    with pytest.raises(ValueError, match="8 keys, but the queue holds 7"):
        make()(batch_of(8))


# Exits.


def test_summaries_are_class_tokens_or_means(make):
    batch = batch_of(3, seed=2)
    image, ids, seen = batch["image"], batch["input_ids"], batch["attention_mask"]
    for pool in ("cls", "mean"):
        model = make(image_pool=pool, text_pool=pool, norm="pre").eval()
        tokens, states = model.image_encoder(image), model.text_encoder(ids, seen)
        for i in range(3):
            own = states[i, : int(seen[i].sum())]
            picture = tokens[i, 0] if pool == "cls" else tokens[i, 1:].mean(dim=0)
            words = own[0] if pool == "cls" else own.mean(dim=0)
            expected = model.image_proj(picture), model.text_proj(words)
            torch.testing.assert_close(model.encode_image(image)[i], expected[0], **CLOSE)
            torch.testing.assert_close(model.encode_text(ids, seen)[i], expected[1], **CLOSE)


def test_weights_of_attention_come_only_when_asked_for(make):
    model, batch = make().eval(), batch_of(3, seed=2)
    image, ids, seen = batch["image"], batch["input_ids"], batch["attention_mask"]
    out, maps = model.encode_pair(image, ids, seen, return_attention=True)
    torch.testing.assert_close(out, model.encode_pair(image, ids, seen), rtol=1e-10, atol=1e-10)
    assert [tuple(weights.shape) for weights in maps] == [(3, 3, LONGEST, 5)] * 2
    out, maps = model.encode_image(image, return_attention=True)
    torch.testing.assert_close(out, model.encode_image(image), rtol=1e-10, atol=1e-10)
    assert [tuple(weights.shape) for weights in maps] == [(3, 2, 5, 5)] * 2


def test_pairs_are_scored_by_how_much_more_they_look_like_a_match(make):
    model, batch = make().eval(), batch_of(3, seed=2)
    image, ids, seen = batch["image"], batch["input_ids"], batch["attention_mask"]
    logits = model.itm_head(model.encode_pair(image, ids, seen)[:, 0])
    scores = model.matching_scores(image, ids, seen)
    torch.testing.assert_close(scores, logits[:, 1] - logits[:, 0], **CLOSE)
    which = torch.tensor([2, 0, 0])
    tokens, states = model.image_tokens(image), model.text_states(ids, seen)
    found = model.match_logits(tokens, states, seen, image_index=which)
    others = model.itm_head(model.encode_pair(image[which], ids, seen)[:, 0])
    torch.testing.assert_close(found, others, **CLOSE)


def test_padding_changes_nothing(make):
    batch = batch_of(3, length=4, seed=2)
    fill = {"input_ids": PAD, "attention_mask": False, "mlm_input_ids": PAD, "mlm_labels": -100}
    longer = batch | {name: F.pad(batch[name], (0, 2), value=v) for name, v in fill.items()}
    for pool in ("cls", "mean"):
        found = [learn(make(text_pool=pool), one) for one in (batch, longer)]
        torch.testing.assert_close(found[1]["losses"], found[0]["losses"], **CLOSE)


def test_in_bfloat16_losses_and_queues_stay_wide():
    torch.manual_seed(0)
    model = build(id_targets=True).train()
    batch = batch_of(5, seed=1, pictures=9)
    batch["image"] = batch["image"].float()
    for step in ("fused", "reference"):
        model.step = step
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = model(batch)
        sum(losses.values()).backward()
        assert all(x.dtype == torch.float32 and x.isfinite() for x in losses.values())
        assert model.image_queue.dtype == torch.float32
        lengths = model.image_queue.norm(dim=0)
        torch.testing.assert_close(lengths, torch.ones(7), rtol=0, atol=1e-6)


# The published model.


def test_at_base_size_it_is_the_published_model(count_weights):
    """Section 3.5: ViT-B/16 with 85.8 M parameters, BERT-base of 123.7 M with its tied head."""
    made = []

    def base():
        vit = ViT(image_size=256, patch_size=16, width=768, depth=12, heads=12)
        bert = Bert(vocab_size=30_522, width=768, depth=6, heads=12)
        made.append(Albef(vit, bert, FusionEncoder(768, 6, 12)))
        return made[0]

    whole = count_weights(base)
    sizes = {
        part: sum(p.numel() for name in names for p in numbers(getattr(made[0], name)))
        for part, names in made[0].parts.items()
    }
    assert sizes["image encoder"] == 85_844_736
    assert sizes["text encoder"] + sizes["fusion encoder"] + sizes["mlm_head"] == 123_697_722
    assert sizes["image_proj"] == sizes["text_proj"] == 196_864
    assert sizes["itm_head"] == 1_538 and sizes["temperature"] == 1
    assert sizes["momentum twin"] == 85_844_736 + 123_697_722 + 2 * 196_864
    assert sum(sizes.values()) == whole
    assert made[0].image_queue.shape == made[0].text_queue.shape == (256, 65_536)
    assert made[0].temperature_range == (0.001, 0.5) and made[0].momentum == 0.995


def numbers(part):
    return part.parameters() if isinstance(part, nn.Module) else [part]
