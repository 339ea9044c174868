"""What a sweep is about: simulators, chatbots, scenarios, prefixes, and the items of work that they make."""
