"""The kinds of sources that `gather` reads, and the cache that keeps what was fetched."""
