"""The discriminator: a token classifier that tells real user turns from simulated ones, trained afresh each round."""
