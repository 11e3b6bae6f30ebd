"""The exercises of lesson 02, DINO."""

from minivl.course.exercises.dino_loss import DINO_LOSS
from minivl.course.exercises.ema_update import EMA_UPDATE
from minivl.course.exercises.teacher_probabilities import TEACHER_PROBABILITIES
from minivl.course.exercises.update_center import UPDATE_CENTER

EXERCISES = (TEACHER_PROBABILITIES, DINO_LOSS, UPDATE_CENTER, EMA_UPDATE)
