"""Renders a run: tables for the terminal and one self-contained HTML page. Reads figures, computes none that matter."""
