"""Inference engines behind one protocol: vLLM for real models, a scripted one for tests and demonstrations."""
