"""SMTP as bytes and events: sessions that know the grammar and the order of commands, and no socket, timer or policy."""
