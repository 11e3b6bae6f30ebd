"""How good a model is: every number with its chance level, its interval and its sample size."""
