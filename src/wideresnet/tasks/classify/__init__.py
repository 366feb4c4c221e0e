"""Classify, embed and explain images: the batch pipeline, deduplication, thumbnails."""
