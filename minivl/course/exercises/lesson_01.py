"""The exercises of lesson 01, Two encoders."""

from minivl.course.exercises.interpolate_positions import INTERPOLATE_POSITIONS
from minivl.course.exercises.pad_batch import PAD_BATCH
from minivl.course.exercises.patchify import PATCHIFY
from minivl.course.exercises.word_pieces import WORD_PIECES

EXERCISES = (PATCHIFY, INTERPOLATE_POSITIONS, WORD_PIECES, PAD_BATCH)
