"""Accuracy: metrics, comparison, label order, published figures, resumable runs."""
