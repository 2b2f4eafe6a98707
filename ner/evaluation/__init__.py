"""Turn a model's answers into scores, an error budget and a report page."""
