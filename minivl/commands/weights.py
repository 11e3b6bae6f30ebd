"""`minivl weights import|export`: published weights into our models, and ours out again."""

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivl.commands.parser import Parser
from minivl.errors import UserError

if TYPE_CHECKING:
    from minivl.weights.names import Tensors

DESCRIPTION = """\
Brings published weights under this package's names, or writes a trained ALBEF as its official code
reads it. Files are read where they lie, nothing is downloaded, and no pickle is ever run.

  import    albef   ALBEF.pth, or what ALBEF's code has fine-tuned: retrieval, grounding, VQA,
                    entailment, NLVR2
            deit    DeiT-base: ALBEF's image encoder before pretraining, and its twin
            bert    BERT-base: text encoder, fusion encoder and MLM head, and their twins
  export    albef   a run, or a file of weights under our names, under the official names

What can be done with them:
  ALBEF.pth, retrieval, grounding   give --out a folder. It is a run, which `minivl eval` (with
                    --pairs on COCO and Flickr30k), `show`, `train retrieval` and `train finetune`
                    take; a task's model starts from it as the official scripts start theirs
  deit, bert        give --out a file, and name it in `minivl train albef --size base` after
                    --image-encoder or --text-encoder
  VQA, entailment, NLVR2   give --out a file: it fills minivl.models.finetune in Python, and goes
                    back by export. No command measures it: its questions and pictures are not here

Published models read pictures normalised by a mean and a deviation (ALBEF's code: CLIP's; DeiT:
ImageNet's), ours read colours in [-1, 1]. The projection of patches takes up the difference: an
imported model gives for our pictures what the published one gives for its own, and an exported one
reads pictures as ALBEF's code prepares them.
"""

EXAMPLES = """\
examples
  minivl weights import albef ALBEF.pth --out runs/albef_official
  minivl weights import albef mscoco.pth --out runs/albef_coco
  minivl eval runs/albef_coco --pairs coco_test.json --images coco
  minivl weights import deit deit_base_patch16_224.pth --image-size 256 --out image.safetensors
  minivl weights import bert pytorch_model.bin --out text.safetensors
  minivl train albef --size base --image-encoder image.safetensors --text-encoder text.safetensors
  minivl weights export albef runs/albef_base --out ALBEF.pth
"""


def main(arguments: list[str]) -> int:
    """Run the command."""
    parser = Parser("weights", DESCRIPTION, EXAMPLES)
    parser.add_argument("action", choices=("import", "export"), help="which way")
    parser.add_argument("model", choices=("albef", "deit", "bert"), help="whose weights")
    parser.add_argument("source", type=Path, help="the file; of export a run or a file")
    parser.add_argument("--out", type=Path, required=True, help="file to write, or a run's folder")
    parser.add_argument("--image-size", type=int, help="side of the pictures to come: positions "
                        "are stretched to it")  # fmt: skip
    chosen = parser.parse_args(arguments)
    return export(chosen) if chosen.action == "export" else bring_in(chosen)


def bring_in(chosen: argparse.Namespace) -> int:
    """Read a published file and write it under our names."""
    from minivl.weights import files

    tensors = read(chosen)
    if chosen.image_size is not None:
        tensors = for_pictures(tensors, chosen.image_size)
    if chosen.out.suffix:
        files.write(chosen.out, tensors)
        tell(f"{len(tensors)} tensors of {chosen.source}", tensors, chosen.out)
    else:
        make_run(tensors, chosen.source, chosen.out)
        tell(f"a run, trained elsewhere, with the weights of {chosen.source}", tensors, chosen.out)
    return 0


def export(chosen: argparse.Namespace) -> int:
    """Write a run's newest weights, or a file's, under the official names."""
    from minivl.training import checkpoint
    from minivl.weights import albef, files

    if chosen.image_size is not None:
        raise UserError("--image-size is for import", "leave it out")
    if chosen.model != "albef":
        raise UserError(f"nothing of ours is exported as {chosen.model}", "export albef")
    if not chosen.out.suffix:
        raise UserError(f"--out {chosen.out} is no file", "end it in .pth or .safetensors")
    tensors = albef.to_official(checkpoint.read_weights(chosen.source))
    files.write(chosen.out, tensors)
    tell(f"{chosen.source} under the official names", tensors, chosen.out)
    return 0


def read(chosen: argparse.Namespace) -> "Tensors":
    """The file's tensors under our names."""
    from minivl.weights import albef, files, starts

    tensors = files.read(chosen.source)
    if chosen.model == "albef":
        return albef.from_official(tensors)
    make = {"deit": starts.from_deit, "bert": starts.from_bert}[chosen.model]
    return starts.with_twins(make(tensors))


def for_pictures(tensors: "Tensors", side: int) -> "Tensors":
    """Positions stretched for pictures of side x side pixels."""
    from minivl.weights.starts import resize_positions

    kernels = [value for name, value in tensors.items() if name.endswith("projection.weight")]
    if not kernels:
        raise UserError("there are no pictures' positions in this file", "leave out --image-size")
    patch = patch_size(kernels[0])
    if side < patch or side % patch:
        raise UserError(
            f"--image-size {side} is no multiple of the patches' {patch} pixels",
            f"give {16 * patch}",
        )
    return resize_positions(tensors, (side // patch, side // patch))


def patch_size(projection: Any) -> int:
    """Side of the patches that a projection (width, 3*p*p) reads."""
    return math.isqrt(projection.shape[1] // 3)


def make_run(tensors: "Tensors", source: Path, folder: Path) -> None:
    """A run's folder as `minivl train albef --size base` leaves it, at the size of the weights."""
    from minivl.commands.runs import check_model, settings
    from minivl.training import checkpoint
    from minivl.training.run import Run
    from minivl.weights.starts import load

    if not {"mlm_head.bias", "id_queue"} & tensors.keys():
        raise UserError(
            f"{source} is neither of pretraining nor of retrieval: no run is made of it",
            "give --out a file, for instance weights.safetensors",
        )
    recipe = recipe_of(tensors)
    (stage,) = recipe.stages(seed=0)
    if "id_queue" in tensors:
        tensors = with_head(tensors, stage)
    load(check_model(stage), tensors)  # before anything is written: does it fit?
    run = Run(folder, settings("albef", recipe, 0))
    with run.hold():
        about = {"stage": stage.name, "step": 0, "source": str(source)}
        apart = {name: value.contiguous().clone() for name, value in tensors.items()}
        checkpoint.save(run.checkpoints / stage.name, 0, apart, {}, about)


def with_head(tensors: "Tensors", stage: Any) -> "Tensors":
    """Weights of retrieval as those of a pretraining without MLM: its head, which they have not and
    nothing reads, as the stage draws it; whose pictures the queue held is forgotten."""
    from minivl.training.randomness import seed_everything
    from minivl.weights.albef import our_layout
    from minivl.weights.starts import load

    seed_everything(0, stage.name, "model")
    model = stage.build_model()
    given = {name: value for name, value in tensors.items() if name != "id_queue"}
    load(model, given, our_layout(tensors).unread)
    return model.state_dict()


def recipe_of(tensors: "Tensors") -> Any:
    """The recipe of ALBEF as published, with the numbers of these weights: heads are 64 wide.

    Of retrieval's weights, whose last training had no MLM, with the objectives of that.
    """
    from minivl.recipes.albef import AlbefRecipe
    from minivl.weights.albef import our_layout

    base, layout = AlbefRecipe.at_size("base"), our_layout(tensors)
    patch = patch_size(tensors["image_encoder.patch_embed.projection.weight"])
    side = math.isqrt(tensors["image_encoder.pos_embed"].shape[1] - 1)
    width = tensors["image_encoder.cls_token"].shape[-1]
    positions, words = tensors["text_encoder.pos_embed.weight"].shape
    if layout.task == "retrieval":
        base = replace(base, objectives=("itc", "itm"), distill=("itc",))
    return replace(
        base,
        image=replace(
            base.image,
            patch_size=patch,
            width=width,
            depth=layout.image_depth,
            heads=max(1, width // 64),
        ),
        text=replace(
            base.text,
            width=words,
            depth=layout.text_depth,
            heads=max(1, words // 64),
            positions=positions,
        ),
        fusion=replace(base.fusion, depth=layout.fusion_depth),
        embed_dim=len(tensors["image_proj.bias"]),
        queue_size=tensors["image_queue"].shape[1],
        data=replace(base.data, image_size=patch * side),
    )


def tell(what: str, tensors: "Tensors", out: Path) -> None:
    """One line: what was written, how much, and where."""
    numbers = sum(value.numel() for value in tensors.values())
    print(f"{what}: {numbers:,} numbers in {out}")
