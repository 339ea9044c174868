"""Whether simulated and real failure rates agree over chatbots, and how far that can be trusted."""
