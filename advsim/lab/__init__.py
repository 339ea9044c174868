"""The known-truth lab: scripted users and chatbots whose failure rates are known, to test the estimators themselves.

A population of users with known behaviour (:mod:`population`) talks to chatbots with injected failures that depend on
what the user does (:mod:`chatbots`). True rates come from a very large sample (:mod:`truth`). A repetition
(:mod:`experiment`) draws real and simulated dialogues as a study would and gives them to the functions that real runs
use. No language model is involved.
"""
