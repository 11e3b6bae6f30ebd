"""The exercises of lesson 10, Momentum distillation."""

from minivl.course.exercises.alpha_at import ALPHA_AT
from minivl.course.exercises.distilled_mlm import DISTILLED_MLM
from minivl.course.exercises.soft_cross_entropy import SOFT_CROSS_ENTROPY
from minivl.course.exercises.soft_targets import SOFT_TARGETS

EXERCISES = (SOFT_TARGETS, SOFT_CROSS_ENTROPY, DISTILLED_MLM, ALPHA_AT)
