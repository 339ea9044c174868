"""A small language model that reads a dialogue once and scores every chatbot message in it."""
