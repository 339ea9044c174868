"""Token-exact prompts: the only place that turns speakers into chat-template roles."""
