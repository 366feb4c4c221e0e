"""Training with plain torch (extra ``train``): a recipe, batched augmentation, a one-page loop, checkpoints."""
