"""Models and adapters on disk: resolved, converted, loaded, hashed."""
