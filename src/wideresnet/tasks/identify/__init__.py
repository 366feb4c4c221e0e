"""Inference of facts that a weights file does not state, from images with or without labels."""
