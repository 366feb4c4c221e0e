"""Fine-tuning on a user's own classes: linear probe or the full network."""
