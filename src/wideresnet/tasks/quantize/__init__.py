"""Lower precision: compilation, calibration data, accuracy gate, sensitivity, search."""
