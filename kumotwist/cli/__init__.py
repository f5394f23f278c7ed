"""Commands: each a module of its own, found by name in `main` and imported only when it is called."""
