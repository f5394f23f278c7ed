"""What the server counts and measures, as plain objects with names; and the forms in which they are told."""
