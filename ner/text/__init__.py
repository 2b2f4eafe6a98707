"""Sentences, tags and answers. Pure Python, apart from reading data sets."""
