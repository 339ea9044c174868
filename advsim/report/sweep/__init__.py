"""The pages of a sweep: what it found, and transcripts behind it."""
