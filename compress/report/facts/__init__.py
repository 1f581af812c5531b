"""What the reports say, worked out once: no layout."""
