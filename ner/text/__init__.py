"""Sentences, tags and answers. No model and no PyTorch."""
