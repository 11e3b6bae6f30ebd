"""Our Albef takes the official steps: losses, gradients, queues and twin, in float64.

The official code does not import with the transformers of today. Here its forward passes, of
pretraining and of fine-tuning, are told again, operation for operation, on transformers' ViTModel
and BertLayer. What it does is written down from github.com/salesforce/ALBEF: models/model_*.py and
models/xbert.py.
"""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minivl.data.official_text import official_masks
from minivl.data.text import SPECIAL_TOKENS, WordPiece, pad_batch
from minivl.models.albef import Albef
from minivl.models.albef_encoders import Encoders
from minivl.models.answering import AnswerDecoder
from minivl.models.finetune import Choice, Finetuned, PairExit, WordsExit
from minivl.models.nlvr import TwoPicturesExit
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


def text_encoder(text=TEXT, fusion=FUSION):
    """BERT with its MLM head; the layers behind those for text alone have cross-attention."""
    from transformers.models.bert import modeling_bert as bert
    from transformers.models.bert.configuration_bert import BertConfig

    def config(**more):
        return BertConfig(
            vocab_size=len(WORDS),
            hidden_size=WIDTH,
            num_hidden_layers=text + fusion,
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
    for index in range(text, text + fusion):
        model.bert.encoder.layer[index] = bert.BertLayer(crossing, layer_idx=index)
    model.cls = bert.BertOnlyMLMHead(config())
    model.cls.predictions.decoder.weight = model.bert.embeddings.word_embeddings.weight
    model.cls.predictions.decoder.bias = model.cls.predictions.bias
    return model


class WithTwins(nn.Module):
    """What all official models share."""

    def make_twins(self, *names):
        self.twins = names
        for name in names:
            setattr(self, f"{name}_m", copy.deepcopy(getattr(self, name)).requires_grad_(False))
        self.double()

    @torch.no_grad()
    def update_twins(self):
        for name in self.twins:
            pairs = zip(
                getattr(self, name).parameters(), getattr(self, f"{name}_m").parameters(),
                strict=True,
            )  # fmt: skip
            for weight, twin in pairs:
                twin.data = twin.data * MOMENTUM + weight.data * (1.0 - MOMENTUM)

    @staticmethod
    def layers(encoder, states, mask, first=0, last=None, picture=None, picture_mask=None):
        """BERT's layers from first to last; what is masked is hidden by a large number less.

        mask (b, t), or (b, t, t) where it is causal, too; several pictures take turns.
        """
        bias = (1 - (mask[:, None] if mask.ndim == 2 else mask).double())[:, None] * -10_000.0
        seen = None
        if picture_mask is not None:
            seen = (1 - picture_mask.double())[:, None, None, :] * -1e9
        for turn, layer in enumerate(encoder.bert.encoder.layer[first:last]):
            looked_at = picture
            if isinstance(picture, list):
                looked_at = None if first + turn < TEXT else picture[(first + turn - TEXT) % 2]
            states = layer(states, bias, looked_at, encoder_attention_mask=seen)
        return states

    def read(self, encoder, ids, mask):
        """Mode "text"."""
        return self.layers(encoder, encoder.bert.embeddings(ids), mask, 0, TEXT)

    def fuse(self, encoder, states, mask, picture):
        """Mode "fusion"."""
        return self.layers(encoder, states, mask, TEXT, None, picture)

    def both(self, encoder, ids, mask, picture):
        """Mode "multi_modal"."""
        return self.fuse(encoder, self.read(encoder, ids, mask), mask, picture)


class Official(WithTwins):
    """The official model: `ids` of pictures are given for retrieval, and there is no MLM then."""

    def __init__(self):
        super().__init__()
        self.visual_encoder, self.text_encoder = image_encoder(), text_encoder()
        self.vision_proj, self.text_proj = nn.Linear(WIDTH, SHARED), nn.Linear(WIDTH, SHARED)
        self.itm_head = nn.Linear(WIDTH, 2)
        self.temp = nn.Parameter(torch.tensor(0.07))
        self.register_buffer("image_queue", torch.zeros(SHARED, QUEUE))
        self.register_buffer("text_queue", torch.zeros(SHARED, QUEUE))
        self.register_buffer("idx_queue", torch.full((1, QUEUE), -100))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))
        self.make_twins("visual_encoder", "text_encoder", "vision_proj", "text_proj")

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
            fused_m = self.both(self.text_encoder_m, holed, mask, pictures_m)
            teacher = self.text_encoder_m.cls(fused_m)
        student = self.text_encoder.cls(self.both(self.text_encoder, holed, mask, pictures))
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


class OfficialTask(WithTwins):
    """The official models of SNLI-VE, NLVR2 (two `pictures`) and VQA (`answers` are said)."""

    def __init__(self, pictures=1, answers=False):
        super().__init__()
        self.visual_encoder = image_encoder()
        self.text_encoder = text_encoder(fusion=pictures * FUSION)
        if pictures == 2:
            layers = self.text_encoder.bert.encoder.layer[TEXT:]
            for left, right in zip(layers[::2], layers[1::2], strict=True):
                left.crossattention.self.key = right.crossattention.self.key
                left.crossattention.self.value = right.crossattention.self.value
        if answers:
            self.text_decoder = text_encoder(text=0)
        else:
            sizes = (WIDTH, WIDTH), (WIDTH, 4 - pictures)
            first, second = (nn.Linear(*size) for size in sizes)
            self.cls_head = nn.Sequential(first, nn.ReLU(), second)
        self.make_twins("visual_encoder", "text_encoder", "text_decoder" if answers else "cls_head")

    def tokens(self, encoder, image):
        """All pictures in one pass: first the left ones, then the right ones."""
        if image.ndim == 4:
            return encoder(image).last_hidden_state
        both = encoder(torch.cat([image[:, 0], image[:, 1]])).last_hidden_state
        return list(both.split(len(image)))

    def choose(self, image, ids, mask, targets, alpha):
        tokens = self.tokens(self.visual_encoder, image)
        found = self.cls_head(self.both(self.text_encoder, ids, mask, tokens)[:, 0])
        with torch.no_grad():
            self.update_twins()
            tokens_m = self.tokens(self.visual_encoder_m, image)
            found_m = self.cls_head_m(self.both(self.text_encoder_m, ids, mask, tokens_m)[:, 0])
        soft = (F.log_softmax(found, dim=1) * F.softmax(found_m, dim=1)).sum(1).mean()
        return (1 - alpha) * F.cross_entropy(found, targets) - alpha * soft

    def logits(self, decoder, question, visible, ids, mask):
        """The decoder: causal, over the question's words, which have looked at the picture."""
        causal = torch.ones(ids.shape[1], ids.shape[1]).tril() * mask[:, None]
        states = decoder.bert.embeddings(ids)
        states = self.layers(decoder, states, causal, 0, None, question, visible)
        return decoder.cls(states)

    def say(self, image, ids, mask, answers, answer_mask, times, weights, alpha):
        """answers (m, s) of all questions, `times` how many each has, `weights` (m)."""
        question = self.both(self.text_encoder, ids, mask, self.tokens(self.visual_encoder, image))
        rows = torch.repeat_interleave(torch.arange(len(times)), torch.tensor(times))
        told = rows, answers, answer_mask
        with torch.no_grad():
            self.update_twins()
            tokens_m = self.tokens(self.visual_encoder_m, image)
            question_m = self.both(self.text_encoder_m, ids, mask, tokens_m)
            teacher = self.logits(self.text_decoder_m, question_m[rows], mask[rows], *told[1:])
        found = self.logits(self.text_decoder, question[rows], mask[rows], *told[1:])
        labels = answers.masked_fill(~answer_mask, -100)[:, 1:]
        hard = F.cross_entropy(found[:, :-1].transpose(1, 2), labels, reduction="none").sum(1)
        soft = -(F.log_softmax(found, dim=-1) * F.softmax(teacher, dim=-1)).sum(-1)[:, :-1]
        soft = (soft * (labels != -100)).sum(1)
        return (weights * ((1 - alpha) * hard + alpha * soft)).sum() / len(image)

    def rank(self, image, ids, mask, answers, answer_mask, k):
        """Probabilities of the k likeliest answers of the list, and which they are."""
        question = self.both(self.text_encoder, ids, mask, self.tokens(self.visual_encoder, image))
        start = answers[0, 0].repeat(len(ids), 1)
        first = self.logits(self.text_decoder, question, mask, start, torch.ones_like(start))[:, 0]
        first, chosen = F.softmax(first, dim=1)[:, answers[:, 1]].topk(k, dim=1)
        rows = torch.arange(len(ids)).repeat_interleave(k)
        told = answers[chosen.flatten()], answer_mask[chosen.flatten()]
        found = self.logits(self.text_decoder, question[rows], mask[rows], *told)[:, :-1]
        labels = told[0].masked_fill(~told[1], -100)[:, 1:]
        loss = F.cross_entropy(found.transpose(1, 2), labels, reduction="none").sum(1)
        total = first.log() - loss.view_as(first)
        best, order = F.softmax(total, dim=1).topk(k, dim=1)
        return best, chosen.gather(1, order)


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


def official_name(name, pretraining):
    """Of a tensor of theirs: its name in a file, None if it has none; q, k or v of a qkv."""
    module, _, rest = name.partition(".")
    letter = ""
    if module.startswith("visual_encoder"):
        for theirs, timm in VIT.items():
            rest = rest.replace(theirs, timm)
        if found := re.search(r"attention\.([qkv])_proj", rest):
            letter = found[1]
            rest = rest.replace(found[0], "attn.qkv")
    if not pretraining and module.startswith("text_encoder"):
        if rest.startswith("cls."):
            return None, ""
        rest = rest.removeprefix("bert.")
    if pretraining and module == "idx_queue":
        return None, ""
    return (f"{module}.{rest}" if rest else module), letter


def under_official_names(tensors, pretraining):
    """Tensors (weights, or gradients) of theirs as the official file has them."""
    found = {}
    for name, value in tensors.items():
        known, letter = official_name(name, pretraining)
        if known and letter in ("", "q"):
            stacked = [tensors[name.replace("q_proj", f"{k}_proj")] for k in "qkv"]
            found[known] = torch.cat(stacked) if letter else value
    return found


def fill(reference, ours):
    """Our weights in theirs, through the bridge; names of texts are transformers' own."""
    tensors, own = to_official(ours.state_dict(), None), reference.state_dict()
    pretraining = isinstance(ours, Albef) and ours.id_queue is None
    counted = {name for name in tensors if name.endswith("position_ids")}
    assert tensors.keys() - counted == under_official_names(own, pretraining).keys()
    for name, value in own.items():
        known, letter = official_name(name, pretraining)
        if known:
            tensor = tensors[known]
            value.copy_(tensor.chunk(3)["qkv".index(letter)] if letter else tensor)


def parts():
    """Our encoders."""
    like_bert = {"width": WIDTH, "heads": HEADS}
    return (
        ViT(image_size=GRID * PATCH, patch_size=PATCH, depth=2, **like_bert),
        Bert(vocab_size=len(WORDS), depth=TEXT, max_length=LONGEST, **like_bert),
        FusionEncoder(depth=FUSION, context_width=WIDTH, **like_bert),
    )


def albef(drawn, seed, **options):
    """Our model with official options, each weight drawn, the twin apart from the student."""
    model = Albef(
        *parts(),
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
        for name, p in model.named_parameters(remove_duplicate=False)
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
        found = to_official({**state, **gradients(ours)}, None)
        wanted = under_official_names(gradients(reference), not retrieval)
        assert any(grad.abs().max() > 1e-3 for grad in wanted.values())
        alike(found, wanted, close, f"gradient {turn}")
        for optimizer in optimizers:
            optimizer.step()
        wanted = under_official_names(reference.state_dict(), not retrieval)
        alike(to_official(ours.state_dict(), None), wanted, close, f"after step {turn}")


LIST = [[7], [7, 9], [8], [11, 12, 7], [5, 5]]
"""Answers that begin alike, begin another, and differ in length."""


def finetuned(drawn, task, seed):
    """Our fine-tuned model with its twin, and the official one with its weights."""
    encoders = Encoders(*parts(), embed_dim=SHARED)
    if task == "vqa":
        told = pad_batch([[CLS, *answer, SEP] for answer in LIST])
        exit = WordsExit(encoders)
        head = AnswerDecoder.like(encoders, *told, candidates=3, official_ranking=True)
    else:
        exit = TwoPicturesExit(encoders) if task == "nlvr" else PairExit(encoders)
        head = Choice(WIDTH, 2 if task == "nlvr" else 3, hidden=WIDTH)
    ours = drawn(Finetuned(exit, head, distill=True, momentum=MOMENTUM), seed).train()
    reference = OfficialTask(pictures=2 if task == "nlvr" else 1, answers=task == "vqa")
    fill(reference, ours)
    return ours, reference


def task_batch(task, normal, seed):
    """Our batch, and what the official model is given of it beside pictures and texts."""
    batch, generator = batch_of(normal, seed), torch.Generator().manual_seed(seed)
    if task == "vqa":
        shares = torch.tensor([[0.0, 1, 0, 0, 0], [0.6, 0, 0, 0.3, 0], [0, 0, 0.5, 0, 0],
                               [0, 0.2, 0.2, 0, 0.6]], dtype=torch.float64)  # fmt: skip
        asked, told = shares.nonzero(as_tuple=True)
        ids, mask = pad_batch([[CLS, *LIST[answer], SEP] for answer in told])
        return batch | {"answer_shares": shares}, (
            ids, mask, asked.bincount().tolist(), shares[asked, told],
        )  # fmt: skip
    if task == "nlvr":
        batch["images"] = normal(seed + 1, ROWS, 2, 3, GRID * PATCH, GRID * PATCH)
    classes = 2 if task == "nlvr" else 3
    targets = torch.randint(classes, (ROWS,), generator=generator)
    return batch | {"answer_shares": F.one_hot(targets, classes).double()}, (targets,)


@pytest.mark.parametrize("task", ["ve", "nlvr", "vqa"])
def test_two_steps_of_fine_tuning(task, drawn, normal, close):
    """Loss, every gradient, twin and weights; NLVR2's two pictures share keys and values."""
    ours, reference = finetuned(drawn, task, seed=3)
    optimizers = optimizer_of(ours), optimizer_of(reference)
    for turn, alpha in enumerate([0.15, 0.4]):
        batch, rest = task_batch(task, normal, seed=turn)
        image = batch.get("images", batch["image"])
        step = reference.say if task == "vqa" else reference.choose
        theirs = step(image, batch["input_ids"], batch["attention_mask"], *rest, alpha)
        ours.alpha = alpha
        (loss,) = ours(batch).values()
        close(loss, theirs, "loss")
        for optimizer, found in zip(optimizers, (loss, theirs), strict=True):
            optimizer.zero_grad()
            found.backward()
        wanted = under_official_names(gradients(reference), False)
        assert any(grad.abs().max() > 1e-3 for grad in wanted.values())
        found = to_official(ours.state_dict() | gradients(ours), None)
        alike(found, wanted, close, f"gradient {turn}")
        for optimizer in optimizers:
            optimizer.step()
        wanted = under_official_names(reference.state_dict(), False)
        alike(to_official(ours.state_dict(), None), wanted, close, f"after step {turn}")


def test_answers_are_ranked_as_there(drawn, normal, close):
    ours, reference = finetuned(drawn, "vqa", seed=4)
    batch, _ = task_batch("vqa", normal, seed=4)
    ids, mask = pad_batch([[CLS, *answer, SEP] for answer in LIST])
    best, order = reference.eval().rank(
        batch["image"], batch["input_ids"], batch["attention_mask"], ids, mask, k=3
    )
    shares = ours.eval().scores(batch).softmax(dim=1)
    close(shares.gather(1, order), best)
    assert torch.equal((shares > 0).sum(dim=1), torch.full((ROWS,), 3))
    assert torch.equal(shares.argmax(dim=1), order[:, 0])


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
    wanted = under_official_names(gradients(reference), True)
    found = to_official({**ours.state_dict(), **gradients(ours)}, None)
    for part in ("bert.embeddings.word_embeddings", "cls.predictions.decoder"):
        name = f"text_encoder.{part}.weight"  # one table under two names
        assert (found[name][PAD] - wanted[name][PAD]).abs().max() > 1e-6
        close(found[name][PAD + 1 :], wanted.pop(name)[PAD + 1 :], name)
    alike(found, wanted, close, "gradient")


def test_the_official_decay_takes_in_what_ours_spares():
    """Temperature, positions and the class token; the rest is decayed, or spared, alike."""
    model = Albef(*parts(), embed_dim=SHARED, queue_size=QUEUE)
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
    official = decay_groups(model, DECAY, "all_but_vectors")
    chosen = {names[p] for group in official if group["weight_decay"] for p in group["params"]}
    assert chosen == decayed[0]
