"""What a chatbot's message can do wrong: the taxonomy, labelled messages, and detectors behind one protocol."""
