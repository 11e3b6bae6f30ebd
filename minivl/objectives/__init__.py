"""The papers' ideas as pure functions: tensors in, tensors out, no state, no configuration."""
