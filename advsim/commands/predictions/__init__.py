"""Commands on a finished sweep: predict, score, gate."""
