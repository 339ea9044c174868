"""What a run wrote: the only place that knows the names in a run folder."""
