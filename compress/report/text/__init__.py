"""The terminal tables and the Markdown."""
