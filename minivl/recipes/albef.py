"""ALBEF (Li et al. 2021, arXiv 2107.07651): align pictures and sentences, then fuse them.

An image encoder and a text encoder learn to meet (ITC); wrong pairs that look right are judged by a
fusion encoder (ITM), which also fills in hidden words (MLM). A slower copy of the model, the
momentum twin, keeps a queue of what it has seen and softens the targets where captions are noisy.

tiny    5 minutes on two CPU cores: finds, names, matches, fills in
small   an estimated few hours on one modest GPU
base    ViT-B/16 and BERT-base halved; queue, batch, rates and weight decay as published (its code
        decays temperature, positions and class token, too). Its rate fell by epochs, here by
        steps: --schedule by_epochs --epochs 30 for its own

The paper's ablation, row by row, as flags:
  MLM + ITM                --objectives itm mlm --negatives random --distill
  + ITC                    --negatives random --distill
  + hard negatives         --distill
  + distilled ITC          --distill itc
  + distilled MLM          nothing to add
  + distilled downstream   the same, and fine-tuning with its own distillation

--distill names the losses that follow the twin, too; with nothing behind it, none does.

Distillation is for noisy captions; these are clean unless told, in shares of all captions:
  --noise.wrong 0.2        another picture's
  --noise.missing 0.2      a thing left out
  --noise.extra 0.2        a thing that is not there, or words that tell nothing
  --noise.titled 0.3       real ones: drawings with the titles that people gave them, once
                           `minivl data build --extra openclipart` has fetched them
"""

from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from minivl.data.captioned import HiddenWords
from minivl.data.examples import SceneData
from minivl.data.noise import NoiseData
from minivl.errors import require_counts, require_field
from minivl.recipes import flava
from minivl.recipes.mim import ImageEncoder
from minivl.training.recipe import Size, Stage, Training, alpha_at

if TYPE_CHECKING:
    import torch

    from minivl.data.captioned import CaptionSource
    from minivl.data.stream import Stream
    from minivl.data.text import WordPiece
    from minivl.models.albef import Albef

Objective = Literal["itc", "itm", "mlm"]
OBJECTIVES: tuple[Objective, ...] = ("itc", "itm", "mlm")


@dataclass(frozen=True)
class TextEncoder:
    """The text transformer: BERT's lower half."""

    width: int = 96
    """Width of the tokens, and of the fusion encoder's."""
    depth: int = 2
    """Transformer blocks."""
    heads: int = 4
    """Attention heads, here and in the fusion encoder; a divisor of the width."""
    norm: Literal["pre", "post"] = "pre"
    """Norms before each layer, which learns soonest, or after it as in BERT; fusion's too."""
    dropout: float = 0.0
    """Share of activations dropped in training, here and in fusion; BERT's is 0.1."""
    positions: int = 32
    """Longest text that it could read, in word pieces; BERT has 512."""
    separator: bool = True
    """Texts end with [SEP]; ALBEF's own do not, and lose their signs: "whats a t shirt"."""

    def check(self) -> None:
        """Refuse numbers that make no encoder (UserError)."""
        require_field(self, "dropout", 0 <= self.dropout < 1, "a share below 1")


@dataclass(frozen=True)
class FusionEncoder:
    """Where words look at the picture: BERT's upper half, with cross-attention."""

    depth: int = 2
    """Blocks."""

    def check(self) -> None:
        """Refuse an encoder without a block (UserError)."""
        require_field(self, "depth", self.depth >= 1, "1 or more")


@dataclass(frozen=True)
class Evaluation:
    """How much is measured at the end."""

    pool_size: int = 256
    """Distinct captions that a picture chooses from."""
    pools: int = 2
    """Independent pools a split; R@k is their mean."""
    reranked: int = 16
    """How many of the most similar candidates go through fusion and are ranked anew. The paper
    takes 256 of COCO's 5,000 pictures, 128 of Flickr30k's 1,000."""
    mirrored_pairs: int = 256
    """Scenes with their mirrored twins: for order, and for matching."""
    named: int = 480
    """Pictures of one thing to name, zero-shot."""
    matched: int = 1024
    """Pairs to judge, half of them wrong."""
    masked: int = 1024
    """Captions with the name of one thing hidden, read with and without the picture."""
    grounded: int = 256
    """Phrases whose thing Grad-CAM is to find in the picture."""

    def check(self) -> None:
        """Refuse numbers that measure nothing (UserError)."""
        # Two pictures and two sentences: each picture's wrong sentence is another one's.
        require_counts(self, matched=4)


@dataclass(frozen=True)
class AlbefRecipe:
    """Train ALBEF: contrast, match and fill in, on captioned pictures, with a momentum twin."""

    size: Size = "tiny"
    objectives: tuple[Objective, ...] = OBJECTIVES
    """Losses; what none of them trains stays as drawn."""
    negatives: Literal["hard", "random"] = "hard"
    """Wrong pairs to judge: likely as the contrastive loss mistakes them for right, or any."""
    exclude: Literal["same", "picture", "diagonal"] = "same"
    """What is no wrong pair: equal captions and equal pictures; equal pictures; the pair itself
    alone, as in the paper's code, which so calls some right pairs wrong."""
    sampler: Literal["uniform", "multinomial"] = "uniform"
    """How wrong pairs are drawn; multinomial spends random numbers as the paper's code does."""
    distill: tuple[Literal["itc", "mlm"], ...] = ("itc", "mlm")
    """Losses that also follow the momentum twin; none: labels alone."""
    alpha: float = 0.4
    """The twin's share of their targets."""
    ramp_steps: int = 100
    """Steps over which that share rises from 0; the paper's first epoch."""
    queue_size: int = 512
    """Pictures and captions that the twin has seen last, kept as wrong ones; 0: the batch alone."""
    momentum: float = 0.995
    """How much of the twin stays at each step; the rest is the model's."""
    temperature: float = 0.07
    """What cosines are divided by at first; it is learned."""
    temperature_range: tuple[float, float] = (0.001, 0.5)
    """Where it is put back to before each step; twice the same number: it stays."""
    momentum_dropout: bool = False
    """Dropout in the twin, too, as the paper's code leaves it on."""
    step: Literal["fused", "reference"] = "fused"
    """Compute a step without doing things twice, or as the paper tells it: the same numbers."""
    image_encoder: Path | None = None
    """A run with a trained image encoder (albef, flava, mim, dino, clip) to start from, or a
    .safetensors file that `minivl weights import` has made of DeiT's or ALBEF's."""
    text_encoder: Path | None = None
    """A run with a trained text encoder (albef, flava, mlm, clip) to start from, or such a file of
    BERT's or ALBEF's, whose fusion encoder and MLM head are taken, too; and so are its words."""
    image: ImageEncoder = field(default_factory=ImageEncoder)
    text: TextEncoder = field(default_factory=TextEncoder)
    fusion: FusionEncoder = field(default_factory=FusionEncoder)
    embed_dim: int = 96
    """Width of the space where pictures and sentences meet."""
    image_pool: Literal["cls", "mean"] = "mean"
    """What of a picture goes there: the class token as in the paper, or the mean patch."""
    text_pool: Literal["cls", "mean"] = "cls"
    """What of a sentence goes there: [CLS] as in the paper, or the mean word."""
    data: SceneData = field(default_factory=SceneData)
    hidden: HiddenWords = field(default_factory=HiddenWords)
    noise: NoiseData = field(default_factory=NoiseData)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "AlbefRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def check(self) -> None:
        """Refuse what does not fit together (UserError)."""
        require_field(self, "objectives", bool(self.objectives), "at least one objective")
        for name in ("alpha", "momentum"):
            require_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        require_field(self, "ramp_steps", self.ramp_steps >= 1, "1 or more")
        low, high = self.temperature_range
        fits = 0 < low <= high
        require_field(self, "temperature_range", fits, "two numbers above 0, the lower first")
        inside = low <= self.temperature <= high
        require_field(self, "temperature", inside, f"a number from {low} to {high}")
        if self.negatives == "hard" and "itm" in self.objectives:
            taught = "itc" in self.objectives
            require_field(self, "negatives", taught, "random: hard ones are told by the objective "
                          "itc, which is left out")  # fmt: skip
        batch = self.training.batch_size // self.training.accumulate
        fits = self.queue_size == 0 or self.queue_size >= batch
        require_field(self, "queue_size", fits, f"0, or at least a batch's {batch} pairs")
        fits = self.data.max_length <= self.text.positions
        expected = f"at most what the text encoder reads, text.positions {self.text.positions}"
        require_field(self.data, "max_length", fits, expected)
        _ = self.start_from

    def stages(self, seed: int) -> list[Stage]:
        """One stage, on captioned pictures."""
        # Loaded when first asked for: --help reads no picture.
        source = cache(self.load_source)
        return [
            Stage(
                name="pretrain",
                training=self.training,
                build_model=lambda: self.build_model(source().text),
                build_streams=lambda: [self.build_stream(source(), seed)],
                evaluate=lambda model, device: self.evaluate(source(), model, device),
                figures=lambda model, device: self.figures(source(), model, device),
                schedules=self.schedules,
                start_from=self.start_from,
                notes=NOTES[self.size],
            )
        ]

    @property
    def schedules(self) -> dict:
        """The twin's share of the targets, where any loss follows it."""
        if not set(self.distill) & set(self.objectives):
            return {}
        return {"alpha": partial(alpha_at, steps_per_epoch=self.ramp_steps, alpha=self.alpha)}

    @property
    def start_from(self) -> dict[str, tuple[str, str]] | None:
        """Which encoders start from which part of which run; their twins start as copies."""
        start: dict[str, tuple[str, str]] = {}
        if self.image_encoder is not None:
            start["image_encoder"] = flava.part_of(self.image_encoder, IMAGE_ENCODERS)
        if self.text_encoder is not None:
            run = self.text_encoder
            start["text_encoder"] = flava.part_of(run, TEXT_ENCODERS, self.text.norm)
            if run.suffix == ".safetensors":  # BERT's upper half and its head, or ALBEF's
                from minivl.weights.starts import parts_of_file

                start |= parts_of_file(run, ("fusion_encoder", "mlm_head"))
        return start | {f"momentum_encoder.{n}": found for n, found in start.items()} or None

    def load_source(self) -> "CaptionSource":
        """Scenes, and the words of their captions or of the run that brings a text encoder."""
        from minivl.data.captioned import CaptionSource

        text = None if self.text_encoder is None else words_of(self.text_encoder)
        separator = self.text.separator
        return CaptionSource.load(self.data, text, separator=separator, spoilt=self.noise)

    def build_model(self, text: "WordPiece", **otherwise: Any) -> "Albef":
        """The encoders with their heads and twin; weights are drawn from torch's current seed.

        `otherwise`: options of `Albef` that are not to be this recipe's.
        """
        from minivl.models.albef import Albef
        from minivl.nn import fusion
        from minivl.nn.bert import Bert
        from minivl.nn.vit import ViT

        alike = {name: getattr(self.text, name) for name in ("width", "heads", "norm", "dropout")}
        words = {"vocab_size": len(text), "max_length": self.text.positions}
        return Albef(
            ViT(image_size=self.data.image_size, **vars(self.image)),
            Bert(depth=self.text.depth, **words, **alike),
            fusion.FusionEncoder(depth=self.fusion.depth, context_width=self.image.width, **alike),
            **{name: getattr(self, name) for name in OPTIONS} | otherwise,
        )

    def build_stream(self, source: "CaptionSource", seed: int) -> "Stream":
        """Pictures with captions, and those once more with holes."""
        from minivl.data.captioned import CaptionedExamples
        from minivl.data.stream import Stream

        examples = CaptionedExamples(source, "train", self.hidden, self.noise, seed)
        return Stream("pairs", examples, self.training.batch_size, losses=self.objectives)

    def evaluate(self, source: "CaptionSource", model: "Albef", device: "torch.device") -> dict:
        """Retrieval in one stage and in two, order, naming, matching and hidden things."""
        from minivl.evaluation.albef import evaluate_albef
        from minivl.recipes.grounding_figures import grounding

        counts = dict(vars(self.evaluation))
        phrases = counts.pop("grounded")
        found = evaluate_albef(source, model, device, **counts)
        if "itm" not in self.objectives:  # what Grad-CAM follows back is the match
            return found
        return found | grounding(source.scenes, model, device, phrases)

    def figures(self, source: "CaptionSource", model: "Albef", device: "torch.device") -> dict:
        """The pictures of the report."""
        from minivl.recipes.albef_figures import albef_figures

        return albef_figures(model, source, device, self.noise, self.evaluation.reranked)


OPTIONS = ("embed_dim", "image_pool", "text_pool", "objectives", "distill", "queue_size",
           "momentum", "alpha", "temperature", "temperature_range", "negatives", "exclude",
           "sampler", "momentum_dropout", "step")  # fmt: skip
"""Fields that `Albef` knows by the same names."""

IMAGE_ENCODERS = {"pretrain": "image_encoder", **flava.IMAGE_ENCODERS, "clip": "image_encoder"}
TEXT_ENCODERS = {"pretrain": "text_encoder", **flava.TEXT_ENCODERS, "clip": "text_encoder"}
"""Stage that a run may hold -> where in its model the encoder is; the first that is there."""


def words_of(folder: Path) -> "WordPiece":
    """The tokenizer that a run's text encoder was trained with; of a published one BERT's."""
    from minivl.data.examples import SceneSource
    from minivl.data.text import WordPiece
    from minivl.data.texts import TextSource
    from minivl.recipes.clip import ClipRecipe
    from minivl.recipes.mlm import MlmRecipe
    from minivl.recipes.pretrained import Begun, made_by

    if folder.suffix == ".safetensors":
        return WordPiece.load()
    kinds = {"albef": AlbefRecipe, "flava": flava.FlavaRecipe, "mlm": MlmRecipe, "clip": ClipRecipe}
    recipe = made_by(folder, kinds)
    if isinstance(recipe, MlmRecipe):
        return TextSource.load(recipe.data, recipe.scenes).text
    if isinstance(recipe, ClipRecipe):
        return SceneSource.load(recipe.data).text
    return Begun(folder, recipe).load_source().text


EPOCH = 4_000_000 // 512
"""Steps that show the paper's four million pictures once, in batches of 512."""

NOTES = {
    "test": (),
    "tiny": ("about 5 minutes on two CPU cores, half a minute more with the evaluation",),
    "small": ("an estimated few hours on one GPU of 16 GB (not measured)",),
    "base": (
        "the paper's 30 epochs of 4 million pictures in batches of 512: days on several GPUs",
        "its encoders start from DeiT-base and BERT-base; here from noise, from runs, or from the "
        "files of both: minivl weights import, --image-encoder, --text-encoder",
        "its rate fell by epochs, here by steps: --schedule by_epochs --epochs 30 for its own",
        "it read COCO, Visual Genome, CC3M and SBU; generated scenes stand in for them",
        "it computed in float32: --training.precision float32; bfloat16 where the GPU has it here",
    ),
}

SIZES: dict[str, AlbefRecipe] = {
    "test": AlbefRecipe(
        size="test",
        ramp_steps=5,
        queue_size=40,  # no multiple of the batch: the queue wraps round
        image=ImageEncoder(patch_size=8, width=32, depth=1, heads=2, stem="conv"),
        text=TextEncoder(width=32, depth=1, heads=2),
        fusion=FusionEncoder(depth=1),
        embed_dim=32,
        data=SceneData(image_size=32),
        training=Training(
            steps=20,
            batch_size=16,
            optimizer="muon",
            warmup_steps=5,
            log_every=1,
            checkpoint_every=10,
        ),
        evaluation=Evaluation(
            pool_size=32,
            pools=1,
            reranked=8,
            mirrored_pairs=16,
            named=48,
            matched=32,
            masked=32,
            grounded=16,
        ),
    ),
    "tiny": AlbefRecipe(
        size="tiny",
        ramp_steps=100,
        momentum=0.95,  # a twin that lags 200 steps of few holds keys that nothing looks for
        temperature_range=(0.03, 0.5),
        image=ImageEncoder(patch_size=8, width=96, depth=1, heads=4, stem="conv"),
        data=SceneData(twin_share=0.5, single_share=0.2),
        hidden=HiddenWords(probability=0.3),
        training=Training(
            steps=1600,
            batch_size=64,  # twice the steps of 128 pairs: the queue makes up for fewer partners
            optimizer="muon",
            lr=3e-3,
            warmup_steps=40,
            checkpoint_every=200,
            prefetch=0,  # both cores compute: rendering beside them costs more than it hides
        ),
    ),
    "small": AlbefRecipe(
        size="small",
        ramp_steps=2000,
        queue_size=16_384,
        image=ImageEncoder(patch_size=8, width=384, depth=8, heads=6),
        text=TextEncoder(width=384, depth=4, heads=6, positions=64),
        fusion=FusionEncoder(depth=4),
        embed_dim=256,
        data=SceneData(
            image_size=128,
            concepts="seen",
            objects=(1, 4),
            captions=("places", "existence", "relation", "converse", "attributes"),
            vocabulary="full",
            max_length=64,
        ),
        training=Training(
            steps=20_000,
            batch_size=512,
            lr=1e-3,
            warmup_steps=1000,
            weight_decay=0.1,
            checkpoint_every=1000,
            evaluate_every=5000,
            workers=8,
            prefetch=8,
        ),
    ),
    "base": AlbefRecipe(
        size="base",
        ramp_steps=EPOCH,
        queue_size=65_536,
        image=ImageEncoder(
            patch_size=16, width=768, depth=12, heads=12, stem="patch", positions="normal"
        ),
        text=TextEncoder(
            width=768,
            depth=6,
            heads=12,
            norm="post",
            dropout=0.1,
            positions=512,
            separator=False,
        ),
        fusion=FusionEncoder(depth=6),
        embed_dim=256,
        image_pool="cls",
        data=SceneData(
            image_size=256,
            concepts="seen",
            objects=(1, 4),
            captions=("places", "existence", "relation", "converse", "attributes"),
            vocabulary="full",
            max_length=25,
        ),
        training=Training(
            steps=30 * EPOCH,
            batch_size=512,
            lr=1e-4,
            final_lr_fraction=0.1,
            warmup_steps=2000,  # the code's; the paper says 1,000
            warmup_lr=1e-5,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=0.02,
            decayed="all_but_vectors",
            clip_norm=0.0,
            checkpoint_every=1000,
            evaluate_every=EPOCH,
            keep_checkpoints=3,
            workers=16,
            prefetch=8,
        ),
        evaluation=Evaluation(reranked=128),
    ),
}

RECIPE = AlbefRecipe
