"""Runs of FLAVA and ALBEF as fine-tuning finds them: their words, their models, their weights."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivl.errors import UserError
from minivl.recipes.albef import AlbefRecipe
from minivl.recipes.flava import FlavaRecipe, part_of

if TYPE_CHECKING:
    from minivl.data.tasks import Source
    from minivl.models.albef_encoders import Encoders
    from minivl.models.flava import Flava


@dataclass(frozen=True)
class Begun:
    """A pretrained run: what it was made by, and what fine-tuning takes of it."""

    folder: Path
    recipe: FlavaRecipe | AlbefRecipe

    @property
    def is_albef(self) -> bool:
        """Whether there is a fusion encoder, and a momentum twin."""
        return isinstance(self.recipe, AlbefRecipe)

    def check(self, *, nlvr: bool, generate: bool) -> None:
        """Refuse two pictures, or answers in words, where the run cannot learn them (UserError)."""
        needs = {"--task scene-nlvr": nlvr, "--answers generate": generate}
        for flag in (flag for flag, asked in needs.items() if asked and not self.is_albef):
            raise UserError(
                f"{self.folder} is a run of flava: {flag} needs ALBEF's fusion encoder",
                "name a run that minivl train albef has made",
            )
        if generate and self.recipe.image.width != self.recipe.text.width:
            raise UserError(
                f"{self.folder} has pictures of width {self.recipe.image.width} and words of width "
                f"{self.recipe.text.width}: what looked at pictures cannot look at words",
                "name a run of equal widths, or give --answers classify",
            )

    def load_source(self) -> "Source":
        """Scenes and the run's words."""
        from minivl.data.texts import TextSource

        if self.is_albef:
            return self.recipe.load_source()
        return TextSource.load(self.recipe.texts, self.recipe.data)

    def build_model(self, source: "Source") -> "Flava | Encoders":
        """The run's model without what only its pretraining needs."""
        if self.is_albef:
            # That is all that its momentum twin is made of, too.
            bare = replace(self.recipe, queue_size=0).build_model(source.text)
            return bare.momentum_encoder.requires_grad_(True)
        return replace(self.recipe, objectives=("contrastive",), poolers=False).build_model(source)

    def part(self, of: str, *, twin: bool = False) -> tuple[str, str]:
        """The newest checkpoint's folder, and a part in there; of ALBEF's twin, if asked for."""
        inside = ".".join(filter(None, ("momentum_encoder" if twin and self.is_albef else "", of)))
        return part_of(self.folder, {"pretrain" if self.is_albef else "joint": inside})


def begin(folder: Path | None) -> Begun:
    """The run to start from; UserError for none, or one of another recipe."""
    if folder is None:
        raise UserError(
            "which run is to be fine-tuned?",
            "give --run FOLDER, made by minivl train flava (or albef) --out FOLDER",
        )
    return Begun(folder, made_by(folder, {"flava": FlavaRecipe, "albef": AlbefRecipe}))


def made_by(folder: Path, makers: dict[str, type]) -> Any:
    """The recipe that a run was made by, with its settings; UserError for none of `makers`."""
    from minivl.training import config
    from minivl.training.run import Run

    settings = dict(Run.read(folder).config)
    if settings.get("recipe") not in makers:
        raise UserError(
            f"{folder} is a run of {settings.get('recipe')}, not of {' or '.join(makers)}",
            f"name a run that {' or '.join(f'minivl train {name}' for name in makers)} has made",
        )
    fields = {key: value for key, value in settings.items() if key not in ("recipe", "seed")}
    return config.from_plain(makers[settings["recipe"]], fields)
