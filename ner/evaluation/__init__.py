"""Ask a model, and turn its answers into scores, an error budget and a report page."""
