"""Output files: they may grow over hours, survive a kill, and appear complete or not at all."""
