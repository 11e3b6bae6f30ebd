"""The numbers of DINO's multi-crop: what a recipe states, without torch."""

from dataclasses import dataclass

from minivl.errors import require_field


@dataclass(frozen=True)
class CropData:
    """How views are cut and changed; the defaults are the published ones for 224 pixels."""

    global_size: int = 224
    """Side of the two global crops in pixels; the picture's size in every evaluation."""
    local_size: int = 96
    """Side of the local crops."""
    local_crops: int = 8
    """Local crops of each picture; only the student sees them."""
    global_scale: tuple[float, float] = (0.4, 1.0)
    """Least and largest share of the picture's area in a global crop."""
    local_scale: tuple[float, float] = (0.05, 0.4)
    """The same for a local crop."""
    jitter: float = 1.0
    """Strength of the change of brightness, contrast, saturation and hue; 0 changes none."""
    grey_share: float = 0.2
    """Share of crops without colour."""
    blur: tuple[float, float] = (0.1, 2.0)
    """Least and largest deviation of the Gaussian blur, in pixels of the crop."""
    solarise_share: float = 0.2
    """Share of second global crops whose bright half is inverted."""

    def check(self) -> None:
        """Refuse crops that cannot be cut (UserError)."""
        require_field(self, "local_crops", self.local_crops >= 0, "0 or more")
        for name in ("global_size", "local_size"):
            require_field(self, name, getattr(self, name) >= 1, "1 or more")
        for name in ("global_scale", "local_scale"):
            low, high = getattr(self, name)
            require_field(self, name, 0 < low <= high <= 1, "two rising shares above 0")
        require_field(self, "jitter", 0 <= self.jitter <= 2, "a number from 0 to 2")
        for name in ("grey_share", "solarise_share"):
            require_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        require_field(self, "blur", 0 < self.blur[0] <= self.blur[1], "two rising numbers above 0")
