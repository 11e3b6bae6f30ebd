"""The exercises of lesson 07, FLAVA."""

from minivl.course.exercises.draw_stream import DRAW_STREAM
from minivl.course.exercises.joint_loss import JOINT_LOSS
from minivl.course.exercises.mmm_loss import MMM_LOSS

EXERCISES = (JOINT_LOSS, MMM_LOSS, DRAW_STREAM)
