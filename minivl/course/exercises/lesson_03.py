"""The exercises of lesson 03, Image tokenizer."""

from minivl.course.exercises.gumbel_softmax import GUMBEL_SOFTMAX
from minivl.course.exercises.kl_to_uniform import KL_TO_UNIFORM
from minivl.course.exercises.logit_laplace_nll import LOGIT_LAPLACE_NLL
from minivl.course.exercises.map_pixels import MAP_PIXELS
from minivl.course.exercises.visual_tokens import VISUAL_TOKENS

EXERCISES = (GUMBEL_SOFTMAX, KL_TO_UNIFORM, MAP_PIXELS, LOGIT_LAPLACE_NLL, VISUAL_TOKENS)
