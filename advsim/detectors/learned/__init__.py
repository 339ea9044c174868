"""The learned detector: a calibrated classifier a mode on sentence embeddings."""
