"""The model zoo's build files, result.txt and arrays."""
