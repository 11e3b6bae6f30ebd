"""The papers' models: blocks and objectives composed; they hold parameters and nothing else."""
