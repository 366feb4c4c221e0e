"""Facts that a weights file does not state, by evidence: running statistics, and accuracy on labelled images."""
