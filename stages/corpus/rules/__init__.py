"""What a document has to pass: its licence, its quality, no secrets in it, and none of the evaluation's tasks."""
