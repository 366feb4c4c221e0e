"""Calibration of a model's answers on labelled images that it was not trained on."""
