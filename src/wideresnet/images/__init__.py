"""Image files and bytes to RGB uint8 pixels, crops and batches."""
