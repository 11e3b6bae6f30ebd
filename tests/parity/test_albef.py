"""Our Albef takes the official steps: losses, gradients, queues and twin, in float64.

The official code does not import with the transformers of today. Here its forward passes of
pretraining and of fine-tuning for retrieval are told again, operation for operation, on
transformers' ViTModel and BertLayer. What it does is written down from github.com/salesforce/ALBEF:
models/model_pretrain.py, models/model_retrieval.py, models/xbert.py.
"""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minivl.data.official_text import official_masks
from minivl.data.text import SPECIAL_TOKENS, WordPiece
from minivl.models.albef import Albef
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT
from minivl.training.optim import decay_groups
from minivl.weights.albef import to_official

WIDTH, HEADS, GRID, PATCH = 12, 3, 3, 4
TEXT, FUSION, LONGEST, SHARED = 2, 3, 9, 6
ROWS, QUEUE = 4, 12
PAD, CLS, SEP, MASK = 0, 2, 3, 4
WORDS = WordPiece([*SPECIAL_TOKENS, *"abcdefghijklmnopqrstuvwxyz"])
TWINS = ("visual_encoder", "text_encoder", "vision_proj", "text_proj")
MOMENTUM, RATE, DECAY = 0.9, 3e-3, 0.02
"""A twin that moves more than the official 0.995's, so that a mistake shows."""


def image_encoder():
    from transformers.models.vit.configuration_vit import ViTConfig
    from transformers.models.vit.modeling_vit import ViTModel

    config = ViTConfig(
        image_size=GRID * PATCH,
        patch_size=PATCH,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        layer_norm_eps=1e-6,
        # Their eager attention rounds the softmax to float32.
        attn_implementation="sdpa",
    )
    return ViTModel(config, add_pooling_layer=False)


def text_encoder():
    """BERT with its MLM head; the layers from TEXT on have cross-attention."""
    from transformers.models.bert import modeling_bert as bert
    from transformers.models.bert.configuration_bert import BertConfig

    def config(**more):
        return BertConfig(
            vocab_size=len(WORDS),
            hidden_size=WIDTH,
            num_hidden_layers=TEXT + FUSION,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            max_position_embeddings=LONGEST,
            layer_norm_eps=1e-12,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=PAD,
            attn_implementation="eager",
            **more,
        )

    model = nn.Module()
    model.bert = bert.BertModel(config(), add_pooling_layer=False)
    crossing = config(is_decoder=True, add_cross_attention=True)
    for index in range(TEXT, TEXT + FUSION):
        model.bert.encoder.layer[index] = bert.BertLayer(crossing, layer_idx=index)
    model.cls = bert.BertOnlyMLMHead(config())
    model.cls.predictions.decoder.weight = model.bert.embeddings.word_embeddings.weight
    model.cls.predictions.decoder.bias = model.cls.predictions.bias
    return model


class Official(nn.Module):
    """The official model: `ids` of pictures are given for retrieval, and there is no MLM then."""

    def __init__(self):
        super().__init__()
        self.visual_encoder, self.text_encoder = image_encoder(), text_encoder()
        self.vision_proj, self.text_proj = nn.Linear(WIDTH, SHARED), nn.Linear(WIDTH, SHARED)
        self.itm_head = nn.Linear(WIDTH, 2)
        self.temp = nn.Parameter(torch.tensor(0.07))
        for name in TWINS:
            setattr(self, f"{name}_m", copy.deepcopy(getattr(self, name)).requires_grad_(False))
        self.register_buffer("image_queue", torch.zeros(SHARED, QUEUE))
        self.register_buffer("text_queue", torch.zeros(SHARED, QUEUE))
        self.register_buffer("idx_queue", torch.full((1, QUEUE), -100))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))
        self.double()

    @staticmethod
    def layers(encoder, states, mask, first, last, picture=None):
        """BERT's layers from first to last; padding hidden by -10,000, as xbert does."""
        bias = (1 - mask.double())[:, None, None, :] * -10_000.0
        for layer in encoder.bert.encoder.layer[first:last]:
            states = layer(states, bias, picture)
        return states

    def read(self, encoder, ids, mask):
        """Mode "text"."""
        return self.layers(encoder, encoder.bert.embeddings(ids), mask, 0, TEXT)

    def fuse(self, encoder, states, mask, picture):
        """Mode "fusion"."""
        return self.layers(encoder, states, mask, TEXT, TEXT + FUSION, picture)

    def name(self, encoder, ids, mask, picture):
        """Mode "multi_modal", and the head: logits of all words."""
        return encoder.cls(self.fuse(encoder, self.read(encoder, ids, mask), mask, picture))

    @torch.no_grad()
    def update_twins(self):
        for name in TWINS:
            pairs = zip(
                getattr(self, name).parameters(), getattr(self, f"{name}_m").parameters(),
                strict=True,
            )  # fmt: skip
            for weight, twin in pairs:
                twin.data = twin.data * MOMENTUM + weight.data * (1.0 - MOMENTUM)

    @torch.no_grad()
    def enqueue(self, image, text, idx):
        pointer = int(self.queue_ptr)
        assert QUEUE % len(image) == 0
        places = slice(pointer, pointer + len(image))
        self.image_queue[:, places] = image.T
        self.text_queue[:, places] = text.T
        if idx is not None:
            self.idx_queue[:, places] = idx
        self.queue_ptr[0] = (pointer + len(image)) % QUEUE

    def forward(self, image, ids, mask, alpha, idx=None):
        b = len(image)
        if idx is None:
            with torch.no_grad():
                self.temp.clamp_(0.001, 0.5)
        pictures = self.visual_encoder(image).last_hidden_state
        v = F.normalize(self.vision_proj(pictures[:, 0]), dim=-1)
        texts = self.read(self.text_encoder, ids, mask)
        w = F.normalize(self.text_proj(texts[:, 0]), dim=-1)

        with torch.no_grad():
            self.update_twins()
            pictures_m = self.visual_encoder_m(image).last_hidden_state
            v_m = F.normalize(self.vision_proj_m(pictures_m[:, 0]), dim=-1)
            texts_m = self.read(self.text_encoder_m, ids, mask)
            w_m = F.normalize(self.text_proj_m(texts_m[:, 0]), dim=-1)
            all_v = torch.cat([v_m.T, self.image_queue], dim=1)
            all_w = torch.cat([w_m.T, self.text_queue], dim=1)
            if idx is None:
                right = torch.zeros(b, b + QUEUE, dtype=v.dtype).fill_diagonal_(1)
            else:
                right = torch.eq(idx[:, None], torch.cat([idx[None], self.idx_queue], dim=1))
                right = right.double() / right.double().sum(1, keepdim=True)
            of_image = alpha * F.softmax(v_m @ all_w / self.temp, dim=1) + (1 - alpha) * right
            of_text = alpha * F.softmax(w_m @ all_v / self.temp, dim=1) + (1 - alpha) * right
        i2t, t2i = v @ all_w / self.temp, w @ all_v / self.temp
        ita = -(F.log_softmax(i2t, dim=1) * of_image).sum(1).mean()
        ita = (ita - (F.log_softmax(t2i, dim=1) * of_text).sum(1).mean()) / 2
        self.enqueue(v_m, w_m, idx)

        with torch.no_grad():
            shift = 0 if idx is None else 1e-4
            weights = [F.softmax(one[:, :b] + shift, dim=1) for one in (t2i, i2t)]
            same = torch.eye(b, dtype=torch.bool) if idx is None else idx[:, None] == idx[None]
            for one in weights:
                one.masked_fill_(same, 0)
        other_images, other_texts = (
            [int(torch.multinomial(one[row], 1)) for row in range(b)] for one in weights
        )
        positive = self.fuse(self.text_encoder, texts, mask, pictures)
        negative = self.fuse(
            self.text_encoder,
            torch.cat([texts, texts[other_texts]]),
            torch.cat([mask, mask[other_texts]]),
            torch.cat([pictures[other_images], pictures]),
        )
        logits = self.itm_head(torch.cat([positive[:, 0], negative[:, 0]]))
        itm = F.cross_entropy(logits, torch.tensor([1] * b + [0] * 2 * b))
        if idx is not None:
            return {"itc": ita, "itm": itm}

        holed, labels = self.mask(ids)
        with torch.no_grad():
            teacher = self.name(self.text_encoder_m, holed, mask, pictures_m)
        student = self.name(self.text_encoder, holed, mask, pictures)
        hard = F.cross_entropy(student.flatten(0, 1), labels.flatten())
        soft = -(F.log_softmax(student, dim=-1) * F.softmax(teacher, dim=-1)).sum(-1)
        mlm = (1 - alpha) * hard + alpha * soft[labels != -100].mean()
        self.masked = {"mlm_input_ids": holed, "mlm_labels": labels}
        return {"itc": ita, "itm": itm, "mlm": mlm}

    def mask(self, ids):
        holed, labels = ids.clone(), ids.clone()
        chosen = torch.bernoulli(torch.full(ids.shape, 0.15)).bool()
        chosen[holed == PAD] = False
        chosen[holed == CLS] = False
        labels[~chosen] = -100
        hidden = torch.bernoulli(torch.full(ids.shape, 0.8)).bool() & chosen
        holed[hidden] = MASK
        swapped = torch.bernoulli(torch.full(ids.shape, 0.5)).bool() & chosen & ~hidden
        words = torch.randint(len(WORDS), ids.shape, dtype=torch.long)
        holed[swapped] = words[swapped]
        return holed, labels


VIT = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layers.": "blocks.",
    "attention.o_proj": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "layernorm": "norm",
}
"""transformers' names -> timm's."""


def official_name(name, retrieval):
    """Of a tensor of `Official`: its name in a file, None if it has none; q, k or v of a qkv."""
    module, _, rest = name.partition(".")
    letter = ""
    if module.startswith("visual_encoder"):
        for theirs, timm in VIT.items():
            rest = rest.replace(theirs, timm)
        if found := re.search(r"attention\.([qkv])_proj", rest):
            letter = found[1]
            rest = rest.replace(found[0], "attn.qkv")
    if retrieval and rest.startswith("cls.") or not retrieval and module == "idx_queue":
        return None, ""
    if retrieval:
        rest = rest.removeprefix("bert.")
    return (f"{module}.{rest}" if rest else module), letter


def under_official_names(tensors, retrieval):
    """Tensors (weights, or gradients) of `Official` as the official file has them."""
    found = {}
    for name, value in tensors.items():
        known, letter = official_name(name, retrieval)
        if known and letter in ("", "q"):
            stacked = [tensors[name.replace("q_proj", f"{k}_proj")] for k in "qkv"]
            found[known] = torch.cat(stacked) if letter else value
    return found


def fill(reference, ours):
    """Our weights in theirs, through the bridge; names of texts are transformers' own."""
    tensors, own = to_official(ours.state_dict()), reference.state_dict()
    retrieval = ours.id_queue is not None
    counted = {name for name in tensors if name.endswith("position_ids")}
    assert tensors.keys() - counted == under_official_names(own, retrieval).keys()
    for name, value in own.items():
        known, letter = official_name(name, retrieval)
        if known:
            tensor = tensors[known]
            value.copy_(tensor.chunk(3)["qkv".index(letter)] if letter else tensor)


def albef(drawn, seed, **options):
    """Our model with official options, each weight drawn, the twin apart from the student."""
    like_bert = {"width": WIDTH, "heads": HEADS}
    image = {"image_size": GRID * PATCH, "patch_size": PATCH, "depth": 2}
    model = Albef(
        ViT(**image, **like_bert),
        Bert(vocab_size=len(WORDS), depth=TEXT, max_length=LONGEST, **like_bert),
        FusionEncoder(depth=FUSION, context_width=WIDTH, **like_bert),
        **{"embed_dim": SHARED, "queue_size": QUEUE, "momentum": MOMENTUM}
        | {"sampler": "multinomial", "exclude": "diagonal"}
        | options,
    )
    model = drawn(model, seed).train()
    with torch.no_grad():
        model.temperature.fill_(0.2)
    model.alpha = 0.4  # in float64: it was built in float32
    return model


def batch_of(normal, seed):
    """Pictures and texts of all lengths, padded."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(SEP, len(WORDS), (ROWS, 7), generator=generator)
    ids[:, 0] = CLS
    places = torch.arange(7).expand(ROWS, 7)
    mask = places < torch.tensor([[7], [3], [5], [6]])
    image = normal(seed, ROWS, 3, GRID * PATCH, GRID * PATCH)
    return {"image": image, "input_ids": ids.where(mask, PAD), "attention_mask": mask}


def optimizer_of(model):
    """create_optimizer's two groups: no decay for 1-d tensors and for those called bias."""
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    spared = [p for n, p in trained if p.ndim == 1 or n.endswith(".bias")]
    rest = [p for n, p in trained if not (p.ndim == 1 or n.endswith(".bias"))]
    groups = [{"params": spared, "weight_decay": 0.0}, {"params": rest, "weight_decay": DECAY}]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999), eps=1e-8)


def gradients(model):
    """By name; 0 where none has come."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }


def alike(found, wanted, close, what):
    for name in wanted:
        close(found[name].double(), wanted[name].double(), f"{what}: {name}")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("step", ["fused", "reference"])
@pytest.mark.parametrize("task", ["pretrain", "retrieval"])
def test_two_steps(task, step, seed, drawn, normal, close):
    """Losses, every gradient, queues, twin and weights, and the random numbers that are spent."""
    retrieval, options = task == "retrieval", {}
    if retrieval:
        options = {"objectives": ("itc", "itm"), "id_targets": True, "exclude": "picture",
                   "temperature_range": None}  # fmt: skip
    ours, reference = albef(drawn, seed, step=step, **options), Official()
    fill(reference, ours)
    optimizers = optimizer_of(ours), optimizer_of(reference)
    for turn, alpha in enumerate([0.15, 0.4]):
        batch = batch_of(normal, 10 * seed + turn)
        ids = torch.tensor([[3, 5, 3, 8], [8, 8, 6, 3]])[turn]
        torch.manual_seed(100 * seed + turn)
        theirs = reference(
            batch["image"], batch["input_ids"], batch["attention_mask"], alpha,
            idx=ids if retrieval else None,
        )  # fmt: skip
        spent = torch.get_rng_state()
        torch.manual_seed(100 * seed + turn)
        ours.alpha = alpha
        if retrieval:
            losses = ours(batch | {"picture_ids": ids})
        else:
            losses = ours(batch | reference.masked)
            holed, labels = official_masks(batch["input_ids"], WORDS)
            assert torch.equal(holed, reference.masked["mlm_input_ids"])
            assert torch.equal(labels, reference.masked["mlm_labels"])
        assert torch.equal(torch.get_rng_state(), spent)
        assert losses.keys() == theirs.keys()
        for name, loss in theirs.items():
            close(losses[name], loss, name)
        for optimizer, found in zip(optimizers, (losses, theirs), strict=True):
            optimizer.zero_grad()
            sum(found.values()).backward()
        state = ours.state_dict()
        found = to_official({**state, **gradients(ours)})
        wanted = under_official_names(gradients(reference), retrieval)
        assert any(grad.abs().max() > 1e-3 for grad in wanted.values())
        alike(found, wanted, close, f"gradient {turn}")
        for optimizer in optimizers:
            optimizer.step()
        wanted = under_official_names(reference.state_dict(), retrieval)
        alike(to_official(ours.state_dict()), wanted, close, f"after step {turn}")


def both(ours, reference, batch, seed, alpha=0.4):
    """A pretraining step of both from equal random numbers: our losses, theirs."""
    torch.manual_seed(seed)
    theirs = reference(batch["image"], batch["input_ids"], batch["attention_mask"], alpha)
    torch.manual_seed(seed)
    return ours(batch | reference.masked), theirs


def test_a_temperature_out_of_bounds_is_put_back_first(drawn, normal, close):
    """In pretraining; the official fine-tuning lets it go."""
    ours, reference = albef(drawn, 1), Official()
    with torch.no_grad():
        ours.temperature.fill_(0.9)
    fill(reference, ours)
    losses, theirs = both(ours, reference, batch_of(normal, 1), seed=1)
    for name, loss in losses.items():
        close(loss, theirs[name], name)
    assert reference.temp == ours.temperature == 0.5

    free = {"objectives": ("itc",), "distill": (), "id_targets": True, "temperature_range": None}
    ours = albef(drawn, 1, **free)
    with torch.no_grad():
        ours.temperature.fill_(0.9)
    ours(batch_of(normal, 1) | {"picture_ids": torch.arange(ROWS)})
    assert ours.temperature == 0.9


def test_nothing_to_guess_is_no_number_there_and_nothing_here(drawn, normal, close):
    """A small batch may draw no word; the official loss is then 0/0."""
    ours, reference = albef(drawn, 5), Official()
    fill(reference, ours)
    losses, theirs = both(ours, reference, batch_of(normal, 5), seed=5)
    assert not (reference.masked["mlm_labels"] >= 0).any()
    assert theirs.pop("mlm").isnan() and losses["mlm"] == 0
    for name, loss in theirs.items():
        close(losses[name], loss, name)


def test_a_word_swapped_for_padding(drawn, normal, close, monkeypatch):
    """The one gradient that differs: BERT's table, there, does not learn where [PAD] is read.

    The official code may put it in place of a word, where it is looked at as any other.
    """
    ours, reference = albef(drawn, 6), Official()
    fill(reference, ours)
    batch = batch_of(normal, 6)
    holed, labels = batch["input_ids"].clone(), torch.full((ROWS, 7), -100)
    labels[0, 2], holed[0, 2] = holed[0, 2].item(), PAD
    monkeypatch.setattr(reference, "mask", lambda ids: (holed, labels))
    losses, theirs = both(ours, reference, batch, seed=6)
    for found in (losses, theirs):
        sum(found.values()).backward()
    wanted = under_official_names(gradients(reference), False)
    found = to_official({**ours.state_dict(), **gradients(ours)})
    words = "text_encoder.bert.embeddings.word_embeddings.weight"
    assert (found[words][PAD] - wanted[words][PAD]).abs().max() > 1e-6
    close(found[words][PAD + 1 :], wanted.pop(words)[PAD + 1 :], words)
    alike(found, wanted, close, "gradient")


def test_the_official_decay_takes_in_what_ours_spares():
    """Temperature, positions and the class token; the rest is decayed, or spared, alike."""
    like_bert = {"width": WIDTH, "heads": HEADS}
    image = {"image_size": GRID * PATCH, "patch_size": PATCH, "depth": 1}
    model = Albef(
        ViT(**image, **like_bert),
        Bert(vocab_size=len(WORDS), depth=1, max_length=LONGEST, **like_bert),
        FusionEncoder(depth=1, context_width=WIDTH, **like_bert),
        embed_dim=SHARED,
        queue_size=QUEUE,
    )
    names = {parameter: name for name, parameter in model.named_parameters()}
    decayed = [
        {names[p] for group in groups if group["weight_decay"] for p in group["params"]}
        for groups in (optimizer_of(model).param_groups, decay_groups(model, DECAY))
    ]
    assert decayed[0] - decayed[1] == {
        "temperature",
        "image_encoder.cls_token",
        "image_encoder.pos_embed",
        "text_encoder.pos_embed.weight",
    }
    assert decayed[1] <= decayed[0]
