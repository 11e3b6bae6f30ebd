"""Inputs: scenes, texts and data sets, and the streams that bring them to the model."""
