"""Pictures of what a model does: every figure of the package, and the report of a run."""
