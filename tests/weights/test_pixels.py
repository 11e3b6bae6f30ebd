"""A model that was imported gives for our pictures what the published one gives for its own."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from minivl.data.examples import to_tensor
from minivl.errors import UserError
from minivl.nn.vit import PatchEmbed, ViT
from minivl.weights.albef import from_official, to_official
from minivl.weights.pixels import CLIP, IMAGENET, Pixels, fold, unfold
from minivl.weights.starts import from_deit, load

START = "image_encoder."
PUBLISHED = {
    "CLIP": (CLIP, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "ImageNet": (IMAGENET, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def bytes_of(side, count=2):
    """Pictures (count, side, side, 3) as files hold them."""
    generator = torch.Generator().manual_seed(3)
    return torch.randint(256, (count, side, side, 3), generator=generator, dtype=torch.uint8)


def theirs_of(pictures, mean, std):
    """Pictures as the official code prepares them: in [0, 1], then normalised."""
    return v2.functional.normalize(pictures.permute(0, 3, 1, 2).double() / 255, mean, std)


def ours_of(pictures):
    """Pictures as ours are, in float64, and equal to what training sees."""
    found = pictures.permute(0, 3, 1, 2).double() / 127.5 - 1
    assert torch.allclose(to_tensor(pictures.numpy()).double(), found, atol=1e-6)
    return found


def within(tensors):
    """The image encoder's tensors, by their names in there."""
    return {n.removeprefix(START): v for n, v in tensors.items() if n.startswith(START)}


@pytest.mark.parametrize(("pixels", "mean", "std"), PUBLISHED.values(), ids=PUBLISHED)
def test_a_published_kernel_on_its_pictures_and_the_folded_one_on_ours(normal, pixels, mean, std):
    kernel, bias = normal(0, 8, 3, 4, 4), normal(1, 8)
    pictures = bytes_of(12)
    wanted = F.conv2d(theirs_of(pictures, mean, std), kernel, bias, stride=4).flatten(2).mT
    embed = PatchEmbed(4, 8).double()
    tensors = {
        "patch_embed.projection.weight": kernel.flatten(1),
        "patch_embed.projection.bias": bias,
    }
    kept = {name: value.clone() for name, value in tensors.items()}
    folded = fold(tensors, pixels)
    embed.load_state_dict({n.removeprefix("patch_embed."): v for n, v in folded.items()})
    found = embed(ours_of(pictures))
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    embed.load_state_dict({n.removeprefix("patch_embed."): v for n, v in tensors.items()})
    assert (embed(ours_of(pictures)) - wanted).abs().max() > 0.1  # as it stands it is another model
    assert all(torch.equal(tensors[name], value) for name, value in kept.items())


def test_a_whole_official_encoder_sees_our_pictures_as_it_saw_its_own(official):
    """ALBEF's and its twin's by CLIP's scale, DeiT's by ImageNet's."""
    theirs, pictures = official("pretrain"), bytes_of(6)
    deit = {
        name.removeprefix("visual_encoder."): value
        for name, value in theirs.items()
        if name.startswith("visual_encoder.")
    }
    model = ViT(image_size=6, patch_size=2, width=8, depth=2, heads=2).double().eval()
    twin = "momentum_encoder."
    for read, (_, mean, std) in (
        (lambda pixels: from_official(theirs, *pixels), PUBLISHED["CLIP"]),
        (
            lambda pixels: {
                name.removeprefix(twin): value
                for name, value in from_official(theirs, *pixels).items()
                if name.startswith(twin)
            },
            PUBLISHED["CLIP"],
        ),
        (lambda pixels: from_deit(deit, *pixels), PUBLISHED["ImageNet"]),
    ):
        load(model, within(read([None])))
        wanted = model(theirs_of(pictures, mean, std))
        load(model, within(read([])))
        assert torch.allclose(model(ours_of(pictures)), wanted, rtol=0, atol=1e-12)


def test_there_and_back_is_exact_but_for_rounding(official):
    theirs = official("retrieval")
    again = to_official(from_official(theirs))
    single = {n: v.float() if v.is_floating_point() else v for n, v in theirs.items()}
    rounded = to_official(from_official(single))
    changed = {name for name in theirs if not torch.equal(again[name], theirs[name])}
    kinds = {name.split(".", 1)[1] for name in changed}
    assert kinds <= {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    for name, value in theirs.items():
        assert torch.allclose(again[name], value, rtol=0, atol=1e-14), name
        assert rounded[name].dtype == single[name].dtype
        assert torch.allclose(rounded[name], single[name], rtol=1e-6, atol=1e-6), name


def test_other_scales_and_none(normal):
    """[-1, 1] itself is mean and deviation of one half; None leaves a model as it is."""
    tensors = {
        "twin.patch_embed.projection.weight": normal(0, 4, 12),
        "twin.patch_embed.projection.bias": normal(1, 4),
        "other": normal(2, 3),
    }
    for pixels in (Pixels((0.5,) * 3, (0.5,) * 3), None):
        for change in (fold, unfold):
            found = change(tensors, pixels)
            assert found.keys() == tensors.keys()
            assert all(torch.equal(found[name], value) for name, value in tensors.items())
    darker = fold(tensors, Pixels((0.6, 0.5, 0.5), (0.5,) * 3))
    lost = 0.2 * tensors["twin.patch_embed.projection.weight"][:, :4].sum(dim=1)  # red comes first
    bias = "twin.patch_embed.projection.bias"
    assert torch.allclose(darker[bias], tensors[bias] - lost, rtol=0, atol=1e-12)


def test_a_projection_without_a_bias_has_no_place_for_the_mean():
    with pytest.raises(UserError, match="has no bias"):
        fold({"patch_embed.projection.weight": torch.zeros(2, 12)}, CLIP)
