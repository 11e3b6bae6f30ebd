"""The engine: the only part that knows optimisers, devices, processes and disk."""
