"""Find, download and load base models and adapters."""
