"""Where we send from and to: pure decisions about sources, paths, sites and limits."""
