"""UniT (Hu and Singh 2021, arXiv 2102.10772): one transformer learns eight tasks at once.

A convolutional network and a transformer read pictures, BERT reads words, and one decoder, asked by
queries that each task has of its own, finds boxes or answers. Every task has labels, and all of the
model is trained by all of them: no objective comes first.

tiny    six minutes on two CPU cores, all eight tasks
small   an estimated few hours on one modest GPU
base    ResNet-50, BERT-base and the published numbers; many GPUs through torchrun

One task alone, or some of them:
  --tasks scene-detection --steps 1000
  --tasks scene-detection scene-vqa

Files as published, where you have them:
  --tasks coco --files.coco FOLDER
  --tasks coco qnli sst-2 --files.coco FOLDER --files.glue FOLDER

The paper's comparisons as flags:
  separate decoders          --decoder.no-shared
  without task tokens        --image.no-task-token --text.no-task-token
  as the code was published  --decoder.init official --idle decayed --decayed all
                             --attribute-relu last
  from published weights     --text.weights BERT_FILE --backbone.weights RESNET50_OR_DETR_FILE
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from minivl.data.examples import SceneData
from minivl.data.texts import TextData
from minivl.data.unit_tasks import (
    ATTRIBUTES,
    BOXES,
    PICTURES,
    SCENE_BOXES,
    TASKS,
    Files,
    TaskName,
)
from minivl.errors import UserError, require_counts, require_field
from minivl.training.recipe import Size, Stage, Training

if TYPE_CHECKING:
    import torch

    from minivl.data.stream import Stream
    from minivl.data.texts import TextSource
    from minivl.models.unit import Unit, UnitTask
    from minivl.nn.bert import Bert
    from minivl.nn.resnet import ResNet

SET_LOSSES = ("class", "l1", "giou", "attributes")
"""What a task that asks for boxes learns by; the others: "answer"."""


@dataclass(frozen=True)
class Task:
    """How often a task is drawn, and how much of it is read at a time."""

    share: float = 1.0
    """How often a step draws it, relative to the others."""
    batch_size: int = 64
    """Examples per step."""
    weight: float = 1.0
    """Factor of its losses."""
    classes: int = 0
    """Room for so many classes or answers, if that is more than the data have."""
    attributes: int = 0
    """Room for so many attributes, likewise."""

    def check(self) -> None:
        """Refuse numbers that train nothing (UserError)."""
        require_field(self, "share", self.share > 0, "a number above 0; or leave it out of --tasks")
        require_field(self, "batch_size", self.batch_size >= 1, "1 or more")
        require_field(self, "weight", self.weight > 0, "a number above 0")


@dataclass(frozen=True)
class Backbone:
    """The convolutions that read pictures."""

    kind: Literal["small", "resnet50"] = "small"
    """A few of them, or ResNet-50 with a dilated last stage (DC5) and frozen batch norm."""
    width: int = 96
    """Channels that come out of the small one."""
    stride: int = 8
    """Pixels from one of its cells to the next: a power of two."""
    lr_scale: float = 1.0
    """Its learning rate, relative to the rest's; the paper's is a fifth."""
    weights: Path | None = None
    """Weights to start from: a file of torchvision's resnet50, or one of DETR's, whose backbone is
    taken. Pictures are then given ImageNet's mean and deviation."""

    def check(self) -> None:
        """Refuse numbers that make no network, and weights that have no place (UserError)."""
        powers = self.stride >= 2 and self.stride & (self.stride - 1) == 0
        require_field(self, "stride", powers, "a power of two, 2 or more")
        require_field(self, "width", self.width >= 8, "8 or more")
        require_field(self, "lr_scale", self.lr_scale > 0, "a number above 0")
        fits = self.weights is None or self.kind == "resnet50"
        require_field(self, "weights", fits, "none, or give --backbone.kind resnet50")


@dataclass(frozen=True)
class ImageEncoder:
    """DETR's transformer encoder."""

    width: int = 96
    """Width of its tokens."""
    depth: int = 2
    """Blocks."""
    heads: int = 4
    """Attention heads; a divisor of the width."""
    mlp_ratio: float = 4.0
    """Width inside the MLP, relative to the tokens'; the paper: 2,048 of 256."""
    task_token: bool = True
    """A learned token of the task stands before the picture's."""
    residual: bool = True
    """What goes in is added to what comes out, as in the published code."""

    def check(self) -> None:
        """Refuse a width whose places have no waves (UserError)."""
        require_field(self, "width", self.width % 4 == 0, "a multiple of four, for sines of places")


@dataclass(frozen=True)
class TextEncoder:
    """BERT."""

    width: int = 96
    """Width of its tokens."""
    depth: int = 2
    """Blocks."""
    heads: int = 4
    """Attention heads; a divisor of the width."""
    positions: int = 64
    """Longest text that it could read, in word pieces; BERT has 512."""
    task_token: bool = True
    """A learned token of the task stands before the words."""
    first_word_only: bool = True
    """The decoder sees [CLS] alone, but for scene-vqa, as in the published code."""
    weights: Path | None = None
    """Weights of BERT to start from, as transformers names them: of bert-base-uncased at base."""


@dataclass(frozen=True)
class Decoder:
    """DETR's transformer decoder."""

    width: int = 96
    """Width of its tokens."""
    depth: int = 2
    """Blocks."""
    heads: int = 4
    """Attention heads; a divisor of the width."""
    mlp_ratio: float = 4.0
    """Width inside the MLP, relative to the tokens'; the paper: 2,048 of 768."""
    shared: bool = True
    """One for all tasks, or one for each."""
    init: Literal["xavier", "official"] = "xavier"
    """How it starts; official: separate ones keep torch's own start, as in the published code."""
    box_queries: int = 12
    """Queries of a task that asks for boxes; the paper: 100."""
    answer_queries: int = 2
    """Queries of a task that asks for an answer; the first one tells it. The paper: 25."""


@dataclass(frozen=True)
class Evaluation:
    """How much is measured at the end."""

    pictures: int = 512
    """Pictures of each split to find boxes in."""
    questions: int = 1024
    """Questions of each split and task."""

    def check(self) -> None:
        """Refuse numbers that measure nothing (UserError)."""
        require_counts(self)


@dataclass(frozen=True)
class UnitRecipe:
    """Train UniT: detection, questions, claims and sentences, all by one transformer."""

    size: Size = "tiny"
    tasks: tuple[TaskName, ...] = TASKS
    """What is learned."""
    labels: int = 0
    """Labelled examples of each task to learn from, read again and again; 0: new ones without
    end."""
    scene_detection: Task = field(default_factory=Task)
    scene_attributes: Task = field(default_factory=Task)
    scene_vqa: Task = field(default_factory=Task)
    scene_ve: Task = field(default_factory=Task)
    caption_answers: Task = field(default_factory=Task)
    scene_sentences: Task = field(default_factory=Task)
    caption_pairs: Task = field(default_factory=Task)
    gloss_kinds: Task = field(default_factory=Task)
    coco: Task = field(default_factory=Task)
    visual_genome: Task = field(default_factory=Task)
    qnli: Task = field(default_factory=Task)
    mnli_matched: Task = field(default_factory=Task)
    mnli_mismatched: Task = field(default_factory=Task)
    qqp: Task = field(default_factory=Task)
    sst_2: Task = field(default_factory=Task)
    files: Files = field(default_factory=Files)
    backbone: Backbone = field(default_factory=Backbone)
    image: ImageEncoder = field(default_factory=ImageEncoder)
    text: TextEncoder = field(default_factory=TextEncoder)
    decoder: Decoder = field(default_factory=Decoder)
    norm: Literal["pre", "post"] = "pre"
    """Norms before each layer, which learns soonest, or after it as in DETR and BERT."""
    dropout: float = 0.0
    """Share of activations dropped in training; the paper's is 0.1."""
    no_object: float = 0.1
    """What a query without a box weighs in the loss."""
    l1_weight: float = 5.0
    """Factor of the boxes' L1 distance."""
    giou_weight: float = 2.0
    """Factor of the boxes' generalised IoU."""
    attribute_relu: Literal["between", "last"] = "between"
    """Of the attributes' head; last: after its last layer, as in the published code."""
    all_blocks_answer: bool = False
    """Answers are learned after each of the decoder's blocks, as boxes are."""
    data: SceneData = field(default_factory=SceneData)
    texts: TextData = field(default_factory=TextData)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def at_size(cls, size: Size) -> "UnitRecipe":
        """The recipe at one of the four sizes."""
        return SIZES[size]

    def check(self) -> None:
        """Refuse what does not fit together (UserError)."""
        require_field(self, "tasks", bool(self.tasks), "at least one task")
        twice = len(set(self.tasks)) < len(self.tasks)
        require_field(self, "tasks", not twice, "each task once")
        for task in self.tasks:
            self.files.check_has(task)
        require_field(self, "labels", self.labels >= 0, "0 or more")
        require_field(self, "dropout", 0 <= self.dropout < 1, "a share below 1")
        for name in ("no_object", "l1_weight", "giou_weight"):
            require_field(self, name, getattr(self, name) >= 0, "0 or more")
        most = self.data.objects[1]
        enough = self.decoder.box_queries >= most
        require_field(self.decoder, "box_queries", enough, f"at least the {most} things of a scene")
        fits = self.text.weights is None or self.norm == "post"
        require_field(self.text, "weights", fits, "none, or give --norm post: BERT's norms are so")
        require_field(self.decoder, "answer_queries", self.decoder.answer_queries >= 1, "1 or more")
        fits = self.texts.max_length <= self.text.positions
        expected = f"at most what the text encoder reads, text.positions {self.text.positions}"
        require_field(self.texts, "max_length", fits, expected)

    def stages(self, seed: int) -> list[Stage]:
        """One stage: all tasks in turn."""
        # Loaded when first asked for: --help reads no picture.
        source = cache(self.load_source)

        def watch(model: "Unit", device: "torch.device") -> dict[str, Any]:
            from minivl.recipes.unit_figures import watch_boxes

            return watch_boxes(model, source(), device)

        return [
            Stage(
                name="unit",
                training=self.training,
                build_model=lambda: self.build_model(source()),
                build_streams=lambda: [
                    self.build_stream(source(), task, seed) for task in self.tasks
                ],
                evaluate=lambda model, device: self.evaluate(source(), model, device),
                figures=lambda model, device, watched=(): self.figures(
                    source(), model, device, watched
                ),
                watch=watch if any(task in SCENE_BOXES for task in self.tasks) else None,
                fill=self.fill if self.backbone.weights or self.text.weights else None,
                loss_weights=self.loss_weights,
                notes=NOTES[self.size],
            )
        ]

    def settings(self, task: TaskName) -> Task:
        """How a task is drawn and weighed."""
        return getattr(self, task.replace("-", "_"))

    @property
    def loss_weights(self) -> dict[str, float]:
        """Loss -> its factor: DETR's for boxes, times the task's own."""
        factors = {"l1": self.l1_weight, "giou": self.giou_weight}
        return {
            f"{task}/{loss}": factors.get(loss, 1.0) * self.settings(task).weight
            for task in self.tasks
            for loss in (SET_LOSSES if task in BOXES else ("answer",))
        }

    def load_source(self) -> "TextSource":
        """Scenes and texts, with one vocabulary."""
        from minivl.data.texts import TextSource

        return TextSource.load(self.texts, self.data)

    def build_stream(self, source: "TextSource", task: TaskName, seed: int) -> "Stream":
        """A task's examples, drawn as often as its share says."""
        from minivl.data.stream import First, Stream
        from minivl.data.unit_tasks import OfTask, check_files, task_examples
        from minivl.evaluation.unit import tell_faults

        check_files(self.files, self.tasks, self.decoder.box_queries)
        read = task_examples(source, task, "train", seed, self.files)
        tell_faults(task, read)
        examples = OfTask(First(read, self.labels) if self.labels else read, task)
        chosen = self.settings(task)
        return Stream(task, examples, chosen.batch_size, weight=chosen.share)

    def build_model(self, source: "TextSource") -> "Unit":
        """The whole model; weights are drawn from torch's current seed."""
        from minivl.models.unit import Unit
        from minivl.models.unit_encoders import UnitImageEncoder, UnitTextEncoder
        from minivl.nn.bert import Bert

        tasks = [self.build_task(source, task) for task in self.tasks]
        block = {"norm": self.norm, "dropout": self.dropout}
        numbers = ("width", "depth", "heads", "mlp_ratio")
        image_encoder = UnitImageEncoder(
            self.build_backbone(),
            tasks=len(tasks),
            task_token=self.image.task_token,
            residual=self.image.residual,
            **{name: getattr(self.image, name) for name in numbers},
            **block,
        )
        text_encoder = None
        if any(task.text for task in tasks):
            text = {name: getattr(self.text, name) for name in ("width", "depth", "heads")}
            words = {"vocab_size": len(source.text), "max_length": self.text.positions}
            bert = Bert(**text, **words, **block)
            text_encoder = UnitTextEncoder(bert, tasks=len(tasks), task_token=self.text.task_token)
        model = Unit(
            image_encoder,
            text_encoder,
            tasks,
            shared=self.decoder.shared,
            init=self.decoder.init,
            answer_dropout=self.dropout,
            attribute_relu=self.attribute_relu,
            all_blocks_answer=self.all_blocks_answer,
            no_object=self.no_object,
            **{name: getattr(self.decoder, name) for name in numbers},
            **block,
        )
        model.lr_scales = {"image_encoder.backbone": self.backbone.lr_scale}
        return model

    def build_task(self, source: "TextSource", task: TaskName) -> "UnitTask":
        """What the model must know of a task."""
        from minivl.data.unit_tasks import answers_of_task, task_examples
        from minivl.models.unit import UnitTask

        room = self.settings(task)
        if task in BOXES:
            boxes = task_examples(source, task, "train", 0, self.files)
            attributes = len(boxes.attribute_names) if task in ATTRIBUTES else 0
            return UnitTask(
                task,
                "boxes",
                len(boxes.classes),
                self.decoder.box_queries,
                attributes=max(attributes, room.attributes),
                room=room.classes,
            )
        return UnitTask(
            task,
            "answer",
            len(answers_of_task(source, task)),
            self.decoder.answer_queries,
            image=task in PICTURES,
            text=True,
            first_word_only=self.text.first_word_only and task != "scene-vqa",
            soft=task == "scene-vqa",
            room=room.classes,
        )

    def build_backbone(self) -> "Backbone":
        """The convolutions."""
        from minivl.nn.resnet import ResNet, SmallCNN

        if self.backbone.kind == "small":
            return SmallCNN(self.backbone.width, stride=self.backbone.stride)
        # Pictures of files may come with ImageNet's mean and deviation already.
        given = self.backbone.weights is not None
        return ResNet(normalise=given and not self.files.pictures.imagenet)

    def fill(self, model: "Unit") -> str:
        """Give a new model the weights that were named; says which."""
        told = []
        if self.backbone.weights is not None:
            fill_backbone(model.image_encoder.backbone, self.backbone.weights)
            told.append(f"{self.backbone.weights} (backbone)")
        if self.text.weights is not None and model.text_encoder is not None:
            fill_bert(model.text_encoder.bert, self.text.weights)
            told.append(f"{self.text.weights} (text encoder)")
        return " and ".join(told)

    def evaluate(self, source: "TextSource", model: "Unit", device: "torch.device") -> dict:
        """Boxes and answers of every task, on every split that it has."""
        from minivl.evaluation.unit import evaluate_unit

        return evaluate_unit(source, model, device, files=self.files, **vars(self.evaluation))

    def figures(
        self,
        source: "TextSource",
        model: "Unit",
        device: "torch.device",
        watched: Sequence[Mapping[str, Any]] = (),
    ) -> dict:
        """The pictures of the report; `watched`: the lines that a training left."""
        from minivl.recipes.unit_figures import unit_figures

        return unit_figures(model, source, device, watched)


def fill_backbone(network: "ResNet", path: Path) -> None:
    """torchvision's weights of a file, its classifier left out, or the backbone of a file of DETR.

    UserError for those of another network.
    """
    from minivl.weights import files

    given, body = files.read(path), "backbone.0.body."
    if detr := {name: value for name, value in given.items() if name.startswith(body)}:
        given = {name.removeprefix(body): value for name, value in detr.items()}
    found = network.load_state_dict(given, strict=False)
    strange = [name for name in found.unexpected_keys if not name.startswith("fc.")]
    if wrong := [*found.missing_keys, *strange]:
        raise UserError(
            f"{path} holds no resnet50 of torchvision: {wrong[0]} is lacking or too much",
            "name a file of its state_dict, or of DETR's",
        )


def fill_bert(bert: "Bert", path: Path) -> None:
    """The encoder of a file of BERT. UserError for another file, or one of another size."""
    from minivl.weights import files, starts

    named = starts.from_bert(files.read(path), fusion_depth=0)
    own = {name for name in named if name.startswith("text_encoder.")}
    starts.load(bert, {name.removeprefix("text_encoder."): named[name] for name in own})


NOTES = {
    "test": (),
    "tiny": (),
    "small": ("an estimated few hours on one GPU of 16 GB (not measured)",),
    "base": ("the published 500,000 steps of 64: 64 V100 took up to 72 hours",),
}

TOPICS = ("noun.animal", "noun.plant", "noun.food", "noun.person", "noun.artifact")
"""What the definitions of gloss-kinds are about."""

COCO_AT_BASE = Task(share=0.20, classes=91)
VISUAL_GENOME_AT_BASE = Task(share=0.07, classes=1601, attributes=401)
"""The published numbers, for scenes in the place of each data set as for itself."""

SIZES: dict[str, UnitRecipe] = {
    "test": UnitRecipe(
        size="test",
        **dict.fromkeys((task.replace("-", "_") for task in TASKS), Task(batch_size=8)),
        backbone=Backbone(width=16),
        image=ImageEncoder(width=32, depth=1, heads=2),
        text=TextEncoder(width=32, depth=1, heads=2, positions=32),
        decoder=Decoder(width=32, depth=2, heads=2, box_queries=6),
        data=SceneData(image_size=32, objects=(1, 4)),
        texts=TextData(topics=TOPICS, vocabulary_size=600, max_length=32),
        training=Training(
            steps=24,
            batch_size=8,
            optimizer="muon",
            warmup_steps=5,
            log_every=1,
            checkpoint_every=12,
        ),
        evaluation=Evaluation(pictures=16, questions=16),
    ),
    "tiny": UnitRecipe(
        size="tiny",
        # Weights: whoever is large pulls hardest, and a set's loss begins at 18, an answer's at 1.
        scene_detection=Task(share=0.20, batch_size=32),
        scene_attributes=Task(share=0.13, batch_size=32),
        scene_vqa=Task(share=0.25, batch_size=32),
        scene_ve=Task(share=0.16, batch_size=32, weight=4.0),
        caption_answers=Task(share=0.06, batch_size=32, weight=4.0),
        scene_sentences=Task(share=0.07, batch_size=32, weight=4.0),
        caption_pairs=Task(share=0.07, batch_size=32, weight=4.0),
        gloss_kinds=Task(share=0.06, batch_size=32, weight=4.0),
        # Fewer queries than DETR's share, and nothing costs more: things are seldom found twice.
        decoder=Decoder(box_queries=8),
        no_object=0.2,
        data=SceneData(image_size=64, objects=(1, 4)),
        texts=TextData(topics=TOPICS, max_length=32),
        training=Training(
            steps=4000,
            batch_size=32,
            optimizer="muon",
            lr=3e-3,
            warmup_steps=50,
            checkpoint_every=250,
            prefetch=0,  # both cores compute: rendering beside them costs more than it hides
        ),
    ),
    "small": UnitRecipe(
        size="small",
        **dict.fromkeys((task.replace("-", "_") for task in TASKS), Task(batch_size=64)),
        backbone=Backbone(width=256),
        image=ImageEncoder(width=256, depth=4, heads=8),
        text=TextEncoder(width=384, depth=6, heads=6, positions=64),
        decoder=Decoder(width=256, depth=4, heads=8, box_queries=25, answer_queries=8),
        data=SceneData(image_size=128, concepts="seen", objects=(1, 4), vocabulary="full"),
        texts=TextData(vocabulary="full", max_length=64),
        training=Training(
            steps=40_000,
            batch_size=64,
            lr=3e-4,
            warmup_steps=1000,
            weight_decay=1e-2,
            checkpoint_every=1000,
            evaluate_every=10_000,
            workers=8,
            prefetch=8,
        ),
    ),
    "base": UnitRecipe(
        size="base",
        scene_detection=COCO_AT_BASE,
        scene_attributes=VISUAL_GENOME_AT_BASE,
        scene_vqa=Task(share=0.26, classes=3129),
        scene_ve=Task(share=0.12),
        caption_answers=Task(share=0.10),
        scene_sentences=Task(share=0.10),
        caption_pairs=Task(share=0.10),
        gloss_kinds=Task(share=0.05),
        coco=COCO_AT_BASE,
        visual_genome=VISUAL_GENOME_AT_BASE,
        qnli=Task(share=0.10),
        mnli_matched=Task(share=0.10),
        mnli_mismatched=Task(share=0.10),
        qqp=Task(share=0.10),
        sst_2=Task(share=0.05),
        backbone=Backbone(kind="resnet50", lr_scale=0.2),
        image=ImageEncoder(width=256, depth=6, heads=8, mlp_ratio=8),
        text=TextEncoder(width=768, depth=12, heads=12, positions=512),
        decoder=Decoder(
            width=768, depth=6, heads=8, mlp_ratio=8 / 3, box_queries=100, answer_queries=25
        ),
        norm="post",
        dropout=0.1,
        data=SceneData(image_size=480, concepts="seen", objects=(1, 4), vocabulary="full"),
        texts=TextData(vocabulary="full", max_length=128),
        training=Training(
            steps=500_000,
            batch_size=64,
            lr=5e-5,
            warmup_steps=2000,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=1e-4,
            clip_norm=0.1,
            checkpoint_every=1000,
            evaluate_every=50_000,
            keep_checkpoints=3,
            workers=16,
            prefetch=8,
        ),
        evaluation=Evaluation(pictures=2048, questions=4096),
    ),
}

RECIPE = UnitRecipe
