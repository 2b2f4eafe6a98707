"""Find, download and load base models and adapters, and generate answers with them."""
