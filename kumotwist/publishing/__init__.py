"""Sending log records on: to webhooks, brokers and files, or back into queues as messages.  Each hook reads the mail log."""
