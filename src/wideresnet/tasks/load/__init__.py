"""A model name or file to a bundle or a classifier."""
