"""Cascades of networks: the choice of a rule, its certification, and the bundle."""
