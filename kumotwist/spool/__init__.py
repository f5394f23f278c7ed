"""The durable store: what we answered 250 for survives a crash, together with the record of everything that happened to it."""
