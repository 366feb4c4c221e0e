"""Records to words and images; nothing is computed here, and only here fractions become percent."""
