"""The real server, killed again and again under load: at random moments, and at named points of its way to the disk."""
