"""Outbound connections: bind, TLS, dialogue, what each reply means.  Knows no queue: it is given messages and says what became of them."""
