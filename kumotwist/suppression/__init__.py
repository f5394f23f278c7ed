"""The list of recipients who get no more mail: what is on it, how it is filled, and who asks it."""
