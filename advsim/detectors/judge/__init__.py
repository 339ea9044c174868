"""The judge: a language model that gets the rubric and answers by JSON schema."""
