"""Outbound connections: bind, TLS, dialogue, what each reply means.  Knows no queue: it gets messages, says what became of them."""
