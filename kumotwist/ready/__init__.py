"""Ready queues: what is due now, by egress path; bounded, served fairly, and sent over as many connections as the path allows."""
