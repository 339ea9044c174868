"""advsim: realistic user simulators by adversarial rounds, to predict how often a support chatbot fails."""
