"""What every page is made of: escaped markup, tables and sections, the frame and its style."""
