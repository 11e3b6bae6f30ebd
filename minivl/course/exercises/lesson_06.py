"""The exercises of lesson 06, Matching."""

from minivl.course.exercises.hard_negative_weights import HARD_NEGATIVE_WEIGHTS
from minivl.course.exercises.itm_batch import ITM_BATCH
from minivl.course.exercises.merge_tokens import MERGE_TOKENS

EXERCISES = (HARD_NEGATIVE_WEIGHTS, ITM_BATCH, MERGE_TOKENS)
