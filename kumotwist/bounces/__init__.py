"""What a refusal means: classes of bounces, by rules.  Pure."""
