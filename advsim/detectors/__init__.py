"""Detectors of failures in chatbots' messages behind one protocol, with their taxonomy and labelled messages."""
