"""Bridges: published weights into our models, and ours into the published formats."""
