"""Where a domain's mail goes: MX and address lookups off the reactor thread, remembered as long as the DNS allows."""
