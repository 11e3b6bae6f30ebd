"""The exercises of lesson 08, UniT."""

from minivl.course.exercises.answer_loss import ANSWER_LOSS
from minivl.course.exercises.assign import ASSIGN
from minivl.course.exercises.generalized_box_iou import GENERALIZED_BOX_IOU
from minivl.course.exercises.match_cost import MATCH_COST
from minivl.course.exercises.set_loss import SET_LOSS
from minivl.course.exercises.sine_positions_2d import SINE_POSITIONS_2D
from minivl.course.exercises.task_queries import TASK_QUERIES

EXERCISES = (
    TASK_QUERIES,
    SINE_POSITIONS_2D,
    GENERALIZED_BOX_IOU,
    MATCH_COST,
    ASSIGN,
    SET_LOSS,
    ANSWER_LOSS,
)
