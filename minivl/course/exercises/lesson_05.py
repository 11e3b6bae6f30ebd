"""The exercises of lesson 05, Contrastive."""

from minivl.course.exercises.gather_with_grad import GATHER_WITH_GRAD
from minivl.course.exercises.global_info_nce import GLOBAL_INFO_NCE
from minivl.course.exercises.info_nce import INFO_NCE
from minivl.course.exercises.similarity_logits import SIMILARITY_LOGITS

EXERCISES = (SIMILARITY_LOGITS, INFO_NCE, GLOBAL_INFO_NCE, GATHER_WITH_GRAD)
