"""Floor 12: doors to other ecosystems, one per file; each imports its own optional packages."""
