"""The exercises of lesson 00, Start here."""

from minivl.course.exercises.attention import ATTENTION
from minivl.course.exercises.pre_norm_block import PRE_NORM_BLOCK
from minivl.course.exercises.split_heads import SPLIT_HEADS

EXERCISES = (ATTENTION, SPLIT_HEADS, PRE_NORM_BLOCK)
