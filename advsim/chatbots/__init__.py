"""Chatbots under test behind one protocol."""
