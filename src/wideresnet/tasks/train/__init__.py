"""A training run: folder, plan, TensorBoard."""
