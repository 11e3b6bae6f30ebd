"""FLAVA (Singh et al. 2022): one model that sees, reads, and does both, trained in five stages.

dvae -> dino -> mim give the image encoder and its visual words, mlm gives the text encoder, joint
trains all three encoders on pictures, texts and pairs in turn.

tiny    7 minutes on two CPU cores, all stages: finds, names, matches, fills in
small   an estimated few hours on one modest GPU
base    the published model and schedule; many GPUs through torchrun

The paper's ablation (table 4) as flags:
  MIM       --objectives mim                                      --pretraining dino mim
  MLM       --objectives mlm                                      --pretraining mlm
  FLAVA_C   --objectives contrastive                              --pretraining
  FLAVA_MM  --objectives contrastive itm mmm_image mmm_text       --pretraining
  w/o init                                                        --pretraining
  full      nothing to add
"""

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minivl.data.examples import SceneData
from minivl.data.holes import MaskData
from minivl.data.pairs import PairData
from minivl.data.texts import TextData
from minivl.errors import UserError, require_counts, require_field
from minivl.objectives.names import OBJECTIVES, OF_PAIRS, Objective
from minivl.recipes import dino as dinos
from minivl.recipes import mim as mims
from minivl.recipes import mlm as mlms
from minivl.recipes.dvae import DvaeRecipe, tokenizer_of
from minivl.training.recipe import Size, Stage, Training, Turns

if TYPE_CHECKING:
    import torch

    from minivl.data.stream import Stream
    from minivl.data.texts import TextSource
    from minivl.models.flava import Flava
    from minivl.nn.vit import ViT


@dataclass(frozen=True)
class MultimodalEncoder:
    """The transformer over both sequences."""

    width: int = 96
    """Width of the tokens."""
    depth: int = 2
    """Transformer blocks."""
    heads: int = 4
    """Attention heads; a divisor of the width."""


@dataclass(frozen=True)
class DinoStage:
    """The image encoder learns without labels; see `minivl train dino --help`."""

    head: dinos.Head = field(default_factory=dinos.Head)
    distillation: dinos.Distillation = field(default_factory=dinos.Distillation)
    data: dinos.ObjectData = field(default_factory=dinos.ObjectData)
    training: Training = field(default_factory=Training)
    evaluation: dinos.Evaluation = field(default_factory=dinos.Evaluation)


@dataclass(frozen=True)
class MimStage:
    """The image encoder learns to name hidden patches; see `minivl train mim --help`."""

    training: Training = field(default_factory=Training)
    evaluation: mims.Evaluation = field(default_factory=mims.Evaluation)


@dataclass(frozen=True)
class MlmStage:
    """The text encoder learns to fill in hidden words; see `minivl train mlm --help`."""

    training: Training = field(default_factory=Training)
    evaluation: mlms.Evaluation = field(default_factory=mlms.Evaluation)


@dataclass(frozen=True)
class Shares:
    """How often a step of the joint stage draws which stream; the numbers are relative."""

    pairs: float = 0.70
    """Pictures with captions."""
    pictures: float = 0.15
    """Pictures alone."""
    texts: float = 0.15
    """Texts alone."""

    def check(self) -> None:
        """Refuse shares below nothing (UserError)."""
        for name in ("pairs", "pictures", "texts"):
            require_field(self, name, getattr(self, name) >= 0, "0 or more")


@dataclass(frozen=True)
class LossWeights:
    """Factors of the losses in their sum."""

    contrastive: float = 1.0
    """Pictures find their sentences among all of the batch."""
    itm: float = 1.0
    """Do this picture and this sentence belong together?"""
    mmm_image: float = 1.0
    """Hidden patches, from the rest of the picture and the sentence."""
    mmm_text: float = 1.0
    """Hidden words, from the rest of the sentence and the picture."""
    mim: float = 1.0
    """Hidden patches of pictures alone."""
    mlm: float = 1.0
    """Hidden words of texts alone."""


@dataclass(frozen=True)
class Evaluation:
    """How much is measured at the end."""

    pool_size: int = 256
    """Distinct captions that a picture chooses from."""
    pools: int = 2
    """Independent pools a split; R@k is their mean."""
    mirrored_pairs: int = 256
    """Scenes with their mirrored twins: for order, and for matching."""
    named: int = 480
    """Pictures of one thing to name, zero-shot."""
    matched: int = 1024
    """Pairs to judge, half of them wrong."""
    masked: int = 4096
    """Pairs whose hidden patches and words are named, with and without the other side."""
    probed: int = 384
    """Pictures of one thing to name by neighbours and by a linear probe on frozen features."""

    def check(self) -> None:
        """Refuse numbers that measure nothing (UserError)."""
        # Two pictures and two sentences: each picture's wrong sentence is another one's.
        require_counts(self, matched=4)


@dataclass(frozen=True)
class FlavaRecipe:
    """Train FLAVA: tokenizer, image encoder, text encoder, then all on pictures, texts, pairs."""

    size: Size = "tiny"
    objectives: tuple[Objective, ...] = OBJECTIVES
    """Losses of the joint stage; what none of them needs is left out."""
    pretraining: tuple[Literal["dino", "mim", "mlm"], ...] = ("dino", "mim", "mlm")
    """Stages before the joint one that make its encoders; none: it starts from noise."""
    tokenizer: Path | None = None
    """A run with a trained tokenizer (dvae, mim, flava); its stage is left out here."""
    image_encoder: Path | None = None
    """A run with a trained image encoder (dino, mim, flava); dino and mim are left out here. Only
    the encoder is taken, no head and no mask token."""
    text_encoder: Path | None = None
    """A run with a trained text encoder (mlm, flava); mlm is left out here."""
    dvae: DvaeRecipe = field(default_factory=DvaeRecipe)
    dino: DinoStage = field(default_factory=DinoStage)
    mim: MimStage = field(default_factory=MimStage)
    mlm: MlmStage = field(default_factory=MlmStage)
    image: mims.ImageEncoder = field(default_factory=mims.ImageEncoder)
    text: mlms.TextEncoder = field(default_factory=mlms.TextEncoder)
    multimodal: MultimodalEncoder = field(default_factory=MultimodalEncoder)
    embed_dim: int = 96
    """Width of the space where pictures and sentences meet."""
    image_pool: Literal["cls", "mean"] = "mean"
    """What of a picture goes there: the class token as in the paper, or the mean patch."""
    text_pool: Literal["cls", "mean"] = "cls"
    """What of a sentence goes there: [CLS] as in the paper, or the mean word."""
    itm_negatives: Literal["given", "neighbours"] = "given"
    """Wrong pairs to tell apart: those of the data (--pairs.mismatched), or each picture is also
    judged with its neighbour's sentence, often that of its mirrored twin (--data.twin-share)."""
    fused_share: float = 1.0
    """Share of the pairs that go through the multimodal encoder; all of them contrast."""
    mask_pads: bool = True
    """Hide padding from the multimodal encoder; the published weights were trained without."""
    without_pairs: Literal["nothing", "all"] = "nothing"
    """What is scored where all pairs of a batch are wrong; the reference codes: all."""
    poolers: bool = False
    """Keep the published model's three poolers, which no loss trains."""
    data: SceneData = field(default_factory=SceneData)
    masks: MaskData = field(default_factory=MaskData)
    pairs: PairData = field(default_factory=PairData)
    texts: TextData = field(default_factory=TextData)
    shares: Shares = field(default_factory=Shares)
    turns: Turns = "drawn"
    """Streams by lot, as often as the shares say, or one after the other (round robin)."""
    loss_weights: LossWeights = field(default_factory=LossWeights)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "FlavaRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def check(self) -> None:
        """Refuse what does not fit together (UserError)."""
        require_field(self, "objectives", bool(self.objectives), "at least one objective")
        require_field(self, "fused_share", 0 < self.fused_share <= 1, "a share above 0, at most 1")
        if self.needs_codes:
            self.mim_recipe.check()
        if "pairs" in self.stream_shares:
            fits = self.data.max_length <= self.texts.max_length
            expected = (
                f"at most what the text encoder reads, texts.max_length {self.texts.max_length}"
            )
            require_field(self.data, "max_length", fits, expected)
        whole = self.itm_negatives == "given" or self.pairs.mismatched == 0
        require_field(self.pairs, "mismatched", whole, "0 with itm_negatives neighbours, which "
                      "exchange the captions of true pairs")  # fmt: skip
        if "dino" in self.pretraining and self.image_encoder is None:
            fits = self.dino.data.crops.global_size == self.data.image_size
            require_field(
                self.dino.data.crops,
                "global_size",
                fits,
                f"the joint stage's image_size, {self.data.image_size}",
            )
        if not self.stream_shares:
            raise UserError(
                "no stream is left to train on: the shares of what the objectives need are all 0",
                "raise --shares.pairs, --shares.pictures or --shares.texts",
            )

    # The stages before.

    def stages(self, seed: int) -> list[Stage]:
        """Those that are asked for and not brought by a run, in their order; joint is the last."""
        made = [*self.tokenizer_stages(seed), *self.image_stages(seed), *self.text_stages(seed)]
        return [*made, self.joint_stage(seed)]

    @property
    def needs_codes(self) -> bool:
        """Whether any stage names patches."""
        makes_mim = "mim" in self.pretraining and self.image_encoder is None
        return makes_mim or bool({"mim", "mmm_image"} & set(self.objectives))

    def tokenizer_stages(self, seed: int) -> list[Stage]:
        """dvae, unless a run brings it or nothing needs it."""
        needed = self.needs_codes and self.tokenizer is None
        # The notes of a recipe say how long its own steps take: here the joint stage's do.
        return [replace(stage, notes=()) for stage in self.dvae.stages(seed)] if needed else []

    def image_stages(self, seed: int) -> list[Stage]:
        """Dino, then mim, which starts from it."""
        if self.image_encoder is not None:
            return []
        stages = []
        if "dino" in self.pretraining:
            stages += [replace(stage, notes=()) for stage in self.dino_recipe.stages(seed)]
        if "mim" in self.pretraining:
            *_, stage = self.mim_recipe.stages(seed)
            start = dict(stage.start_from)
            if "dino" in self.pretraining:
                start["image_encoder"] = ("dino", "teacher.backbone")
            stages.append(replace(stage, start_from=start, notes=()))
        return stages

    def text_stages(self, seed: int) -> list[Stage]:
        """mlm."""
        if self.text_encoder is not None or "mlm" not in self.pretraining:
            return []
        return [replace(stage, notes=()) for stage in self.mlm_recipe.stages(seed)]

    @property
    def dino_recipe(self) -> dinos.DinoRecipe:
        """The first stage of the image encoder as a recipe of its own."""
        backbone = dinos.Backbone(**vars(self.image))
        return dinos.DinoRecipe(size=self.size, backbone=backbone, **vars(self.dino))

    @property
    def mim_recipe(self) -> mims.MimRecipe:
        """The second one."""
        return mims.MimRecipe(
            size=self.size,
            tokenizer=self.tokenizer,
            dvae=self.dvae,
            image=self.image,
            data=replace(self.data, twin_share=0.0),
            masks=self.blocks,
            **vars(self.mim),
        )

    @property
    def mlm_recipe(self) -> mlms.MlmRecipe:
        """The text encoder's stage as a recipe of its own."""
        return mlms.MlmRecipe(
            size=self.size, text=self.text, data=self.texts, scenes=self.data, **vars(self.mlm)
        )

    # The joint stage.

    def joint_stage(self, seed: int) -> Stage:
        """All three encoders, on pictures, texts and pairs in turn."""
        from minivl.data.texts import TextSource

        # Loaded when first asked for: --help reads no picture.
        source = cache(lambda: TextSource.load(self.texts, self.data))
        return Stage(
            name="joint",
            training=self.training,
            build_model=lambda: self.build_model(source()),
            build_streams=lambda: self.build_streams(source(), seed),
            evaluate=lambda model, device: self.evaluate(source(), model, device),
            figures=lambda model, device: self.figures(source(), model, device),
            start_from=self.start_from,
            loss_weights=vars(self.loss_weights),
            turns=self.turns,
            notes=NOTES[self.size],
        )

    @property
    def start_from(self) -> dict[str, tuple[str, str]] | None:
        """Which part of the joint model starts from which part of which stage or run."""
        start: dict[str, tuple[str, str]] = {}
        if self.needs_codes_jointly:
            start["tokenizer"] = ("dvae", "")
            if self.tokenizer is not None:
                start["tokenizer"] = part_of(tokenizer_of(self.tokenizer)[0], {"dvae": ""})
        if self.image_encoder is not None:
            start["image_encoder"] = part_of(self.image_encoder, IMAGE_ENCODERS)
        elif "mim" in self.pretraining:
            start["image_encoder"] = ("mim", "image_encoder")
            start["mask_token"] = ("mim", "mask_token")
            if "mim" in self.objectives:
                start["mim_head"] = ("mim", "head")
        elif "dino" in self.pretraining:
            start["image_encoder"] = ("dino", "teacher.backbone")
        if self.text_encoder is not None:
            start["text_encoder"] = part_of(self.text_encoder, TEXT_ENCODERS, self.text.norm)
        elif "mlm" in self.pretraining:
            start["text_encoder"] = ("mlm", "text_encoder")
            if "mlm" in self.objectives and not self.text.tied:
                start["mlm_head"] = ("mlm", "head")
        return start or None

    @property
    def needs_codes_jointly(self) -> bool:
        """Whether the joint stage names patches."""
        return bool({"mim", "mmm_image"} & set(self.objectives))

    def build_model(self, source: "TextSource") -> "Flava":
        """Three encoders with their heads; weights are drawn from torch's current seed."""
        from minivl.models.flava import Flava, MultimodalEncoder
        from minivl.nn.bert import Bert
        from minivl.nn.vit import ViT

        words = {key: value for key, value in vars(self.text).items() if key != "tied"}
        tokenizer = self.tokenizer_recipe.build_model() if self.needs_codes_jointly else None
        return Flava(
            ViT(image_size=self.data.image_size, eps=EPS, **vars(self.image)),
            Bert(vocab_size=len(source.text), max_length=self.texts.max_length, eps=EPS, **words),
            MultimodalEncoder(eps=EPS, **vars(self.multimodal)),
            embed_dim=self.embed_dim,
            tokenizer=tokenizer,
            objectives=self.objectives,
            image_pool=self.image_pool,
            text_pool=self.text_pool,
            itm_negatives=self.itm_negatives,
            fused_share=self.fused_share,
            mask_pads=self.mask_pads,
            without_pairs=self.without_pairs,
            poolers=self.poolers,
            eps=EPS,
        )

    @property
    def tokenizer_recipe(self) -> DvaeRecipe:
        """The recipe that the tokenizer was, or is to be, made by."""
        return self.dvae if self.tokenizer is None else tokenizer_of(self.tokenizer)[1]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.mim_recipe.grid

    @property
    def blocks(self) -> MaskData:
        """Holes of pictures without a sentence: nothing there could tell a drawing hidden whole."""
        return replace(self.masks, thing_share=0.0)

    @property
    def stream_shares(self) -> dict[str, float]:
        """Stream -> share, for those that an objective needs and that are drawn at all."""
        wanted = {
            "pairs": (set(OF_PAIRS) & set(self.objectives), self.shares.pairs),
            "pictures": ("mim" in self.objectives, self.shares.pictures),
            "texts": ("mlm" in self.objectives, self.shares.texts),
        }
        return {name: share for name, (needed, share) in wanted.items() if needed and share > 0}

    def build_streams(self, source: "TextSource", seed: int) -> "list[Stream]":
        """Pairs, pictures, texts; each batch of one kind."""
        from minivl.data.holes import HoledPictures
        from minivl.data.pairs import PairExamples
        from minivl.data.stream import Stream
        from minivl.data.texts import MaskedTexts

        make = {
            "pairs": lambda: PairExamples(source, "train", self.grid, self.masks, self.pairs, seed),
            "pictures": lambda: HoledPictures(
                source.scenes, "train", self.grid, self.blocks, seed + 1
            ),
            "texts": lambda: MaskedTexts(
                source.glosses("train"), source.text, self.texts, seed + 1
            ),
        }
        losses = {
            "pairs": tuple(name for name in OF_PAIRS if name in self.objectives),
            "pictures": ("mim",),
            "texts": ("mlm",),
        }
        return [
            Stream(name, make[name](), self.training.batch_size, share, losses[name])
            for name, share in self.stream_shares.items()
        ]

    def evaluate(self, source: "TextSource", model: "Flava", device: "torch.device") -> dict:
        """What pairs, pictures and texts have taught, on every split."""
        from minivl.evaluation.flava import evaluate_flava
        from minivl.evaluation.probes import Features, probe

        counts = dict(vars(self.evaluation))
        probed = probe(
            source.scenes,
            Features(model.image_encoder, model.pool),
            Features(self.build_untrained(), model.pool),
            device,
            counts.pop("probed"),
        )
        return evaluate_flava(source, model, device, self.grid, self.masks, **counts) | probed

    def build_untrained(self) -> "ViT":
        """The image encoder as it is drawn, always from the same seed: what probes compare with."""
        import torch

        from minivl.nn.vit import ViT

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return ViT(image_size=self.data.image_size, eps=EPS, **vars(self.image))

    def figures(self, source: "TextSource", model: "Flava", device: "torch.device") -> dict:
        """The pictures of the report."""
        from minivl.recipes.flava_figures import flava_figures

        return flava_figures(model, source, device, self.grid, self.masks)


EPS = 1e-12
"""FLAVA's epsilon in all layer norms."""

IMAGE_ENCODERS = {
    "joint": "image_encoder",
    "mim": "image_encoder",
    "dino": "teacher.backbone",
    "supervised": "backbone",
}
TEXT_ENCODERS = {"joint": "text_encoder", "mlm": "text_encoder"}
"""Stage that a run may hold -> where in its model the encoder is; the first that is there."""


def part_of(run: Path, known: dict[str, str], norm: str = "") -> tuple[str, str]:
    """The newest checkpoint folder of a run that holds a part, and the part's name in there.

    `known`: stage -> part, in order of preference. UserError if the run has none of the stages. In
    place of a run a .safetensors file that `minivl weights import` has written; `norm`: where
    this model's blocks have their norms, if that is to be the file's way, too.
    """
    if run.suffix == ".safetensors":
        from minivl.weights.starts import part_of_file

        return part_of_file(run, next(iter(known.values())), norm)
    for stage, part in known.items():
        folder = run / "checkpoints" / stage
        if folder.is_dir():
            return str(folder), part
    raise UserError(
        f"{run} holds no checkpoint of {' or '.join(known)}",
        "name the folder of a run that has trained this stage",
    )


NOTES = {
    "test": (),
    "tiny": ("all stages about 7 minutes on two CPU cores, 2.6 GB of memory",),
    "small": ("an estimated few hours on one GPU of 16 GB, all stages (not measured)",),
    "base": (
        "the paper's 150,000 batches of 8,192 pairs and 64,286 of pictures and texts: many GPUs",
        "FLAVA read 70 million public pairs; generated scenes stand in for them",
    ),
}

SIZES: dict[str, FlavaRecipe] = {}

SIZES["test"] = FlavaRecipe(
    size="test",
    dvae=DvaeRecipe.at_size("test"),
    dino=DinoStage(
        **{
            name: getattr(dinos.SIZES["test"], name)
            for name in ("head", "distillation", "data", "training", "evaluation")
        }
    ),
    mim=MimStage(mims.SIZES["test"].training, mims.SIZES["test"].evaluation),
    mlm=MlmStage(mlms.SIZES["test"].training, mlms.SIZES["test"].evaluation),
    image=mims.ImageEncoder(patch_size=8, width=32, depth=1, heads=2, stem="conv"),
    text=mlms.TextEncoder(width=32, depth=1, heads=2, tied=False),
    multimodal=MultimodalEncoder(width=32, depth=1, heads=2),
    embed_dim=32,
    data=SceneData(image_size=32),
    masks=MaskData(share=0.4, min_block=2),
    texts=TextData(topics=("noun.food",), vocabulary_size=600),
    training=Training(
        steps=20,
        batch_size=16,
        optimizer="muon",
        warmup_steps=5,
        log_every=1,
        checkpoint_every=10,
    ),
    evaluation=Evaluation(
        pool_size=32, pools=1, mirrored_pairs=16, named=48, matched=32, masked=16, probed=32
    ),
)

SIZES["tiny"] = FlavaRecipe(
    size="tiny",
    dvae=replace(
        DvaeRecipe.at_size("tiny"),
        data=SceneData(image_size=24, twin_share=0.0),
        training=replace(
            DvaeRecipe.at_size("tiny").training, steps=600, batch_size=16, evaluate_every=300
        ),
        evaluation=replace(DvaeRecipe.at_size("tiny").evaluation, pictures=256),
    ),
    dino=DinoStage(
        head=dinos.SIZES["tiny"].head,
        distillation=dinos.SIZES["tiny"].distillation,
        data=replace(
            dinos.SIZES["tiny"].data,
            crops=replace(dinos.EASY_CROPS, global_size=48, local_size=24),
        ),
        # A beginning: 200 steps learn nothing yet, its own recipe has 1,200.
        training=replace(dinos.SIZES["tiny"].training, steps=500, evaluate_every=0),
        evaluation=dinos.Evaluation(gallery=768, queries=384, looked_at=128),
    ),
    mim=MimStage(
        training=replace(mims.SIZES["tiny"].training, steps=150),
        evaluation=mims.Evaluation(pictures=256),
    ),
    mlm=MlmStage(
        training=replace(mlms.SIZES["tiny"].training, steps=600),
        evaluation=mlms.Evaluation(texts=512),
    ),
    image=mims.ImageEncoder(patch_size=8, width=96, depth=1, heads=4, stem="conv"),
    text=mlms.TextEncoder(width=96, depth=2, heads=4, tied=False),
    itm_negatives="neighbours",
    fused_share=0.5,  # fusing is the dearer half: more pairs contrast in the same minutes
    data=SceneData(twin_share=0.5, single_share=0.2),
    masks=MaskData(share=0.4, min_block=3, thing_share=0.4),
    pairs=PairData(mismatched=0.0, probability=0.3),
    texts=replace(mlms.SIZES["tiny"].data, caption_share=0.4),
    training=Training(
        steps=1300,
        batch_size=128,
        optimizer="muon",
        lr=3e-3,
        warmup_steps=40,
        checkpoint_every=200,
        prefetch=0,  # both cores compute: rendering beside them costs more than it hides
    ),
)

SIZES["small"] = FlavaRecipe(
    size="small",
    dvae=replace(
        DvaeRecipe.at_size("small"), data=replace(DvaeRecipe.at_size("small").data, image_size=64)
    ),
    dino=DinoStage(
        head=dinos.SIZES["small"].head,
        distillation=dinos.SIZES["small"].distillation,
        data=replace(
            dinos.SIZES["small"].data,
            crops=replace(dinos.SIZES["small"].data.crops, global_size=128, local_size=64),
        ),
        training=dinos.SIZES["small"].training,
        evaluation=dinos.SIZES["small"].evaluation,
    ),
    mim=MimStage(mims.SIZES["small"].training, mims.SIZES["small"].evaluation),
    mlm=MlmStage(mlms.SIZES["small"].training, mlms.SIZES["small"].evaluation),
    image=mims.ImageEncoder(patch_size=8, width=384, depth=8, heads=6),
    text=mlms.TextEncoder(width=384, depth=6, heads=6, tied=False),
    multimodal=MultimodalEncoder(width=384, depth=4, heads=6),
    embed_dim=256,
    data=SceneData(
        image_size=128,
        concepts="seen",
        objects=(1, 4),
        captions=("places", "existence", "relation", "converse", "attributes"),
        vocabulary="full",
        max_length=64,
    ),
    masks=MaskData(share=0.4, min_block=16),
    pairs=PairData(mismatched=0.2),
    texts=mlms.SIZES["small"].data,
    training=Training(
        steps=30_000,
        batch_size=512,
        lr=1e-3,
        warmup_steps=1000,
        weight_decay=0.1,
        checkpoint_every=1000,
        evaluate_every=5000,
        workers=8,
        prefetch=8,
    ),
)

SIZES["base"] = FlavaRecipe(
    size="base",
    pretraining=("dino", "mlm"),
    dvae=DvaeRecipe.at_size("base"),
    dino=DinoStage(
        **{
            name: getattr(dinos.SIZES["base"], name)
            for name in ("head", "distillation", "data", "training", "evaluation")
        }
    ),
    mim=MimStage(mims.SIZES["base"].training, mims.SIZES["base"].evaluation),
    mlm=MlmStage(mlms.SIZES["base"].training, mlms.SIZES["base"].evaluation),
    image=mims.ImageEncoder(
        patch_size=16, width=768, depth=12, heads=12, stem="patch", positions="normal"
    ),
    text=mlms.TextEncoder(width=768, depth=12, heads=12, tied=False),
    multimodal=MultimodalEncoder(width=768, depth=6, heads=12),
    embed_dim=768,
    image_pool="cls",
    poolers=True,
    data=SceneData(
        image_size=224,
        concepts="seen",
        objects=(1, 4),
        captions=("places", "existence", "relation", "converse", "attributes"),
        vocabulary="full",
        max_length=77,
    ),
    masks=MaskData(share=75 / 196, min_block=16),
    texts=mlms.SIZES["base"].data,
    training=Training(
        steps=214_286,
        batch_size=8192,
        lr=1e-3,
        warmup_steps=10_000,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.1,
        clip_norm=0.0,
        checkpoint_every=1000,
        evaluate_every=8000,
        keep_checkpoints=3,
        workers=16,
        prefetch=8,
    ),
)

RECIPE = FlavaRecipe
