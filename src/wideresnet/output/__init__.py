"""Files that grow, survive a kill and appear whole."""
