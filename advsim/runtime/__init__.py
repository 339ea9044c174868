"""Where and how things run: Ray, placement, jobs, progress."""
