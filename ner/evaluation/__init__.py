"""From a model's answers to scores, an error budget and a report page."""
