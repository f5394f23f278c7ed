"""Reports that come as mail: bounces (RFC 3464) and complaints (RFC 5965), and how we write the former.  Pure."""
