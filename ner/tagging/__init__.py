"""Find the names in documents of any length and number."""
