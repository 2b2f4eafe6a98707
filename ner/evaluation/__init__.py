"""Answer a split and turn the answers into scores, an error budget and a report page."""
