"""The HTTP API: listeners, who may ask what, and the table of what can be asked.  Talks to the stages; nobody talks to it."""
