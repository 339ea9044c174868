"""Simulators against chatbots on scenarios, and the same chatbots on real prefixes."""
