"""What happened to each message: typed records, in files that others build on.  The format is an interface."""
