"""Simulated conversations: a pure turn loop, and Ray actor pools that run many of them at once."""
