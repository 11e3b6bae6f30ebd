"""Files of DeiT and BERT, imported, are what `minivl train albef` starts from."""

import pytest
import torch

from minivl.commands.fields import parse
from minivl.commands.runs import check_fields, check_start
from minivl.errors import UserError
from minivl.nn.vit import ViT
from minivl.recipes.albef import words_of
from minivl.recipes.flava import IMAGE_ENCODERS, TEXT_ENCODERS, part_of
from minivl.weights import files
from minivl.weights.names import to_theirs, vit_names
from minivl.weights.starts import from_bert, from_deit, with_twins

WIDTH, TWIN = 32, "momentum_encoder."
OPTIONS = ["--size", "test", "--image.stem", "patch", "--text.norm", "post", "--fusion.depth", "2"]
"""At size test the text encoder has one block, and the image encoder one."""


@pytest.fixture(scope="module")
def bert():
    """A BERT of three layers, as transformers has it."""
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertForPreTraining

    torch.manual_seed(1)
    return BertForPreTraining(
        BertConfig(
            vocab_size=30_522,
            hidden_size=WIDTH,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=4 * WIDTH,
            max_position_embeddings=32,
        )
    ).eval()


@pytest.fixture(scope="module")
def deit():
    """An image encoder under DeiT's names."""
    torch.manual_seed(2)
    model = ViT(image_size=32, patch_size=8, width=WIDTH, depth=1, heads=2)
    ours = {f"image_encoder.{name}": value for name, value in model.state_dict().items()}
    return to_theirs(ours, vit_names("", "image_encoder.", 1))


@pytest.fixture(scope="module")
def imported(bert, deit, tmp_path_factory):
    """The files that `minivl weights import` writes of both."""
    folder = tmp_path_factory.mktemp("files")
    files.write(folder / "text.safetensors", with_twins(from_bert(bert.state_dict(), 2)))
    files.write(folder / "image.safetensors", with_twins(from_deit(deit)))
    return folder


def recipe_of(*argv):
    return parse("albef", [*OPTIONS, *map(str, argv)])[1]


def test_encoders_start_as_published_and_so_do_their_twins(imported, bert, deit):
    recipe = recipe_of("--image-encoder", imported / "image.safetensors",
                       "--text-encoder", imported / "text.safetensors")  # fmt: skip
    check_fields(recipe)
    (stage,) = recipe.stages(seed=0)
    model = stage.build_model().eval()
    drawn = {name: value.clone() for name, value in model.state_dict().items()}
    check_start(stage, model, [stage])
    state = model.state_dict()
    for name, value in model.momentum_encoder.state_dict().items():
        assert torch.equal(value, state[name]), name
    for name, value in from_deit(deit).items():
        assert torch.equal(state[name], value), name
    # Words: the first layer of BERT is the text encoder, the others are the fusion encoder's.
    ids = torch.tensor([[101, 2000, 3000, 4000]])
    with torch.no_grad():
        wanted = bert.bert(ids, output_hidden_states=True).hidden_states
        states = model.text_states(ids)
        assert torch.allclose(states, wanted[1], atol=1e-5)
        for n, block in enumerate(model.fusion_encoder.blocks):
            for name in ("query", "key", "value"):
                theirs = getattr(bert.bert.encoder.layer[1 + n].attention.self, name).weight
                assert torch.equal(getattr(block.self_attention, f"{name[0]}_proj").weight, theirs)
        head = bert.cls(wanted[3], torch.zeros(1, WIDTH))[0]
        assert torch.allclose(model.predict(wanted[3]), head, atol=1e-5)
    stays = {name for name in state if torch.equal(state[name], drawn[name])}
    fresh = ("cross_attention", "norm", "image_proj", "text_proj", "itm_head", "temperature",
             "queue", "bias", "cls_token")  # fmt: skip
    assert all(any(part in name for part in fresh) for name in stays), stays
    assert {f"{twin}fusion_encoder.blocks.1.cross_attention.q_proj.weight"
            for twin in ("", TWIN)} <= stays  # fmt: skip


def test_words_are_all_of_berts(imported):
    recipe = recipe_of("--text-encoder", imported / "text.safetensors")
    assert recipe.data.vocabulary == "cut"
    assert len(words_of(recipe.text_encoder)) == len(recipe.load_source().text) == 30_522
    assert recipe.start_from.keys() == {
        f"{twin}{part}"
        for twin in ("", TWIN)
        for part in ("text_encoder", "fusion_encoder", "mlm_head")
    }


def test_a_file_of_pictures_brings_no_words(imported):
    file = imported / "image.safetensors"
    start = recipe_of("--image-encoder", file).start_from
    assert start == {f"{twin}image_encoder": (str(file), "image_encoder") for twin in ("", TWIN)}


def test_files_that_bring_no_encoder_are_refused(imported, tmp_path):
    image, text = imported / "image.safetensors", imported / "text.safetensors"
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    for argv, words in (
        (("--text-encoder", image), "image.safetensors holds no text_encoder"),
        (("--image-encoder", text), "text.safetensors holds no image_encoder"),
        (("--image-encoder", tmp_path / "none.safetensors"), "there is no file"),
        (("--image-encoder", tmp_path / "bad.safetensors"), "cannot be read"),
        (("--text-encoder", text, "--text.norm", "pre"), "add --text.norm post"),
    ):
        with pytest.raises(UserError) as told:
            check_fields(recipe_of(*argv))
        assert words in str(told.value), argv


def test_a_file_of_another_size_is_refused(imported):
    recipe = recipe_of("--image-encoder", imported / "image.safetensors", "--data.image-size", "64")
    (stage,) = recipe.stages(seed=0)
    with pytest.raises(UserError, match="a checkpoint of another size"):
        check_start(stage, stage.build_model(), [stage])


def test_flava_takes_them_too(imported):
    image, text = imported / "image.safetensors", imported / "text.safetensors"
    assert part_of(image, IMAGE_ENCODERS) == (str(image), "image_encoder")
    assert part_of(text, TEXT_ENCODERS, "post") == (str(text), "text_encoder")
    with pytest.raises(UserError, match="post-norm blocks, and this model's are pre-norm"):
        part_of(text, TEXT_ENCODERS, "pre")


def test_norms_of_our_own_files_are_told_apart(tmp_path):
    """A pre-norm encoder ends with a norm, and says so by its name."""
    file = tmp_path / "own.safetensors"
    files.write(file, {f"text_encoder.norm.{kind}": torch.ones(2) for kind in ("weight", "bias")})
    assert part_of(file, TEXT_ENCODERS, "pre") == (str(file), "text_encoder")
    with pytest.raises(UserError, match="add --text.norm pre"):
        part_of(file, TEXT_ENCODERS, "post")
