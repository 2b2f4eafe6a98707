"""Publish an adapter on the Hugging Face Hub: its name, its files, its card, the upload."""
