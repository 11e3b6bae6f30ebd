"""Building blocks: attention, transformer blocks, ViT and BERT. Imports torch and einops only."""
