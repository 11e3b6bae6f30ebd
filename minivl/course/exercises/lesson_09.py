"""The exercises of lesson 09, ALBEF."""

from minivl.course.exercises.enqueue import ENQUEUE
from minivl.course.exercises.fusion_block import FUSION_BLOCK
from minivl.course.exercises.itc_with_queue import ITC_WITH_QUEUE

EXERCISES = (ENQUEUE, ITC_WITH_QUEUE, FUSION_BLOCK)
