"""Texts that say nearly the same: the shingles of a text, duplicates among many, and what is left across a split."""
