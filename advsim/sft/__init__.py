"""Stage: see ARCHITECTURE.md."""
