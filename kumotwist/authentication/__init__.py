"""Who a message is from, said and checked: DKIM and ARC signatures, SPF, DMARC, Authentication-Results.  No sockets, no clock."""
