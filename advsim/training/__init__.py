"""Trains a simulator: supervised fine-tuning, then adversarial rounds (:mod:`~advsim.training.rounds`)."""
