"""The settings, as frozen values: one module a section, `read` turns files into them or into every fault with its place."""
