"""The page and the tables of a training run."""
