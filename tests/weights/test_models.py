"""Our models' own state dicts are what the bridge reads and writes, for every layout."""

import pytest
import torch

from minivl.data.text import pad_batch
from minivl.models.albef import Albef
from minivl.models.albef_encoders import Encoders
from minivl.models.answering import AnswerDecoder
from minivl.models.finetune import Choice, Finetuned, PairExit, WordsExit
from minivl.models.nlvr import TextAssignment, TwoPicturesExit
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT
from minivl.weights.albef import from_official, our_layout, to_official
from minivl.weights.pixels import CLIP
from minivl.weights.starts import FRESH_FROM_BERT, for_vqa, from_bert, from_deit, load, with_twins

WIDTH = 8


def parts():
    return (
        ViT(image_size=6, patch_size=2, width=WIDTH, depth=2, heads=2),
        Bert(vocab_size=11, width=WIDTH, depth=1, heads=2, max_length=7),
        FusionEncoder(WIDTH, 3, 2, context_width=WIDTH),
    )


def model_of(task):
    if task in ("pretrain", "retrieval"):
        return Albef(*parts(), embed_dim=4, queue_size=6, id_targets=task == "retrieval")
    encoders = Encoders(*parts(), embed_dim=4)
    if task == "assignment":
        return TextAssignment(TwoPicturesExit(encoders))
    if task == "vqa":
        told = pad_batch([[2, 7, 3], [2, 8, 9, 3]])
        decoder = AnswerDecoder.like(encoders, *told)
        decoder.fusion.blocks = decoder.fusion.blocks[:2]  # as many as the file in conftest has
        return Finetuned(WordsExit(encoders), decoder, distill=True)
    exit = TwoPicturesExit(encoders) if task == "nlvr" else PairExit(encoders)
    head = Choice(WIDTH, 2 if task == "nlvr" else 3, hidden=WIDTH)
    return Finetuned(exit, head, distill=True)


@pytest.mark.parametrize("task", ["pretrain", "retrieval", "vqa", "ve", "nlvr", "assignment"])
def test_a_model_goes_out_and_into_another(task):
    torch.manual_seed(0)
    model, other = model_of(task), model_of(task)
    layout = our_layout(model.state_dict())
    drawn = {name: value.clone() for name, value in other.state_dict().items()}
    official = to_official(model.state_dict(), None)
    stays = set(load(other, from_official(official, None), fresh=layout.unread))
    for name, value in other.state_dict().items():
        wanted = drawn[name] if name in stays else model.state_dict()[name]
        assert torch.equal(value, wanted), name
    assert all(name.startswith(layout.unread) for name in stays)
    assert bool(stays) == (task != "pretrain")


@pytest.mark.parametrize("task", ["pretrain", "retrieval", "vqa", "ve", "nlvr", "assignment"])
def test_an_official_file_fills_the_model(task, official):
    """Names and shapes of the official code, written down in conftest, are those of our model."""
    model = model_of(task).double()
    theirs = official(task)
    ours = from_official(theirs, None)
    load(model, ours, fresh=our_layout(ours).unread)
    found = to_official(model.state_dict(), None)
    assert found.keys() == theirs.keys()
    assert all(torch.equal(found[name].double(), theirs[name].double()) for name in theirs)


def test_a_decoder_begins_as_the_recipe_begins_it(official):
    """`AnswerDecoder.like` copies the model; the bridge makes the same of its file."""
    encoders = Encoders(*parts(), embed_dim=4).double()
    whole = from_official(official("pretrain"))
    names = encoders.state_dict().keys()
    load(encoders, {name: whole[name] for name in names})
    told = pad_batch([[2, 7, 3]])
    like = Finetuned(WordsExit(encoders), AnswerDecoder.like(encoders, *told)).state_dict()
    made = {n: t for n, t in for_vqa(whole).items() if not n.startswith("twin.")}
    assert made.keys() == like.keys()
    assert all(torch.equal(made[name], value) for name, value in like.items())


def test_deit_and_bert_begin_a_pretraining(official):
    """What neither has stays as drawn, and is the same in model and twin."""
    theirs = official("pretrain")
    start = "visual_encoder."
    deit = {n.removeprefix(start): t for n, t in theirs.items() if n.startswith(start)}
    start = "text_encoder."
    bert = {
        n.removeprefix(start): t
        for n, t in theirs.items()
        if n.startswith(start) and "crossattention" not in n
    }
    model = model_of("pretrain").double()
    stays = load(model, with_twins(from_deit(deit, CLIP) | from_bert(bert, 3)), FRESH_FROM_BERT)
    state, wanted = model.state_dict(), from_official(theirs)
    for name, value in state.items():
        if name not in stays and not name.startswith("momentum_encoder."):
            assert torch.equal(value, wanted[name]), name
    for name, value in model.momentum_encoder.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert {name.split(".")[0] for name in stays} == {
        "fusion_encoder", "image_proj", "text_proj", "itm_head", "temperature", "image_queue",
        "text_queue", "queue_pointer", "momentum_encoder",
    }  # fmt: skip
