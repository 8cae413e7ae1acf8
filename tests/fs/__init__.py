"""Files: the overlay, host trees, the walk."""
