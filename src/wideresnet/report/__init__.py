"""Records to words and pictures; nothing is computed here, and only here fractions become percent."""
