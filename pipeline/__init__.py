"""The engine and its face: configuration, versioned artifacts, and the runner. Knows nothing of language models."""
