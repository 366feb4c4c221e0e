"""Everything left of the waist: files to RGB uint8 batches; and ``top_k``, logits to answers."""
