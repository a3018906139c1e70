"""Networks that fire by chance: circuits that are silent or emit one of C values per step (C = 1: GLM neurons)."""
