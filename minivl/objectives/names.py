"""The names of FLAVA's losses: flags of its recipe, keys of what its model returns. No torch."""

from typing import Literal

Objective = Literal["contrastive", "itm", "mmm_image", "mmm_text", "mim", "mlm"]
OBJECTIVES: tuple[Objective, ...] = ("contrastive", "itm", "mmm_image", "mmm_text", "mim", "mlm")
"""All six losses of the paper's joint stage (Singh et al. 2022, section 3.2)."""
OF_PAIRS: tuple[Objective, ...] = ("contrastive", "itm", "mmm_image", "mmm_text")
"""Those that pictures with sentences teach."""
