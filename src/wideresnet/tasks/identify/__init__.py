"""What a weights file does not state, from evidence: running statistics, or accuracy on labelled images."""
