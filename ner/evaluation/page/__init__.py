"""The report page: one self-contained HTML file with a search over all sentences."""
