"""Base models and adapters: what EXAONE is, where files come from, how they are loaded."""
