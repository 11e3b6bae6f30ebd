"""Our Encoder is transformers' FlavaImageCodebook: logits, codes and every gradient, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivl.models.dvae import DVAE
from minivl.nn.dvae import Decoder, Encoder, visual_tokens

VOCAB, WIDTH = 11, 8


@pytest.fixture(scope="module", params=[1, 2, 3], ids=lambda blocks: f"{blocks} blocks a group")
def models(request, twins, codebook_names):
    from transformers.models.flava.configuration_flava import FlavaImageCodebookConfig
    from transformers.models.flava.modeling_flava import FlavaImageCodebook

    config = FlavaImageCodebookConfig(
        num_groups=4,
        num_blocks_per_group=request.param,
        hidden_size=WIDTH,
        vocab_size=VOCAB,
        freeze=False,
    )
    numbers = {"vocab_size": VOCAB, "width": WIDTH, "groups": 4, "blocks": request.param}
    torch.manual_seed(0)
    ours = Encoder(**numbers).double().eval()
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.2)
            if ".convs." in name:  # the branches' gains are small: let them be seen
                parameter.mul_(2)
        # No code is everybody's favourite.
        ours.output.bias.sub_(ours(torch.rand(8, 3, 16, 16).double()).mean(dim=(0, 2, 3)))
    theirs = FlavaImageCodebook(config)
    return ours, theirs, twins(ours, theirs, codebook_names)


@given(seed=st.integers(0, 10**6), b=st.integers(1, 2), gh=st.integers(1, 3), gw=st.integers(1, 3))
@settings(max_examples=12, deadline=None)
def test_any_picture(models, normal, close, seed, b, gh, gw):
    ours, theirs, compare = models
    image = normal(seed, b, 3, 8 * gh, 8 * gw).sigmoid()
    ours_in, theirs_in = (image.clone().requires_grad_() for _ in range(2))
    a, other = ours(ours_in), theirs(theirs_in)
    assert a.shape == (b, VOCAB, gh, gw)
    close(a, other, "logits")
    weights = normal(seed + 1, *a.shape)
    compare((a * weights).sum(), (other * weights).sum(), [(ours_in, theirs_in)])


def test_codes_of_mapped_pixels(models, normal):
    """Their image processor maps pixels as ours does, and no mean is taken off."""
    from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil

    ours, theirs, _ = models
    blocks = len(ours.groups[0])
    decoder = Decoder(vocab_size=VOCAB, width=WIDTH, code_width=4, blocks=blocks).double()
    model = DVAE(ours, decoder)
    cells = (4 * normal(3, 2, 3, 4, 6)).sigmoid() * 255
    image = cells.repeat_interleave(8, 2).repeat_interleave(8, 3).round().byte()
    processor = FlavaImageProcessorPil(do_resize=False)
    mapped = processor(
        [picture.permute(1, 2, 0).numpy() for picture in image],
        return_codebook_pixels=True,
        codebook_do_resize=False,
        codebook_do_center_crop=False,
        do_center_crop=False,
        return_tensors="pt",
    )["codebook_pixel_values"]
    expected = theirs.get_codebook_indices(mapped.double())
    assert torch.equal(model.tokenize(image.double() / 127.5 - 1), expected)
    assert len(expected.unique()) > 2
    assert torch.equal(visual_tokens(theirs(mapped.double())), expected)
