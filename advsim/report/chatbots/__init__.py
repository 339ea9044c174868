"""Tables and pictures of several chatbots side by side."""
