"""Scheduled queues: where messages wait until they are due, by `campaign:tenant@domain!routing_domain`; retry and expiry."""
