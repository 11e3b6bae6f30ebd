"""The exercises of lesson 04, Masked modeling."""

from minivl.course.exercises.blockwise_mask import BLOCKWISE_MASK
from minivl.course.exercises.mask_tokens import MASK_TOKENS
from minivl.course.exercises.masked_cross_entropy import MASKED_CROSS_ENTROPY
from minivl.course.exercises.replace_masked import REPLACE_MASKED

EXERCISES = (BLOCKWISE_MASK, REPLACE_MASKED, MASK_TOKENS, MASKED_CROSS_ENTROPY)
