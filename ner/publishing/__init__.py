"""Publish an adapter on the Hugging Face Hub, or merge it into its base and export the result."""
