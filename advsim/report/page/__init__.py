"""What all pages are made of: templates, tables of figures, and pictures as inline SVG."""
