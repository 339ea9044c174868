"""The choice among several draws of a user turn: the one that a probe finds most like what a person would say."""
