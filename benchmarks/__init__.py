"""Scripts behind every number on speed and memory in the README. Run them from the root of the repository."""
