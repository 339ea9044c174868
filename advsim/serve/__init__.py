"""The trained simulator as an OpenAI-compatible user on Ray Serve."""
