"""From the discriminator's probabilities to rewards, and from rewarded candidates to preference pairs."""
