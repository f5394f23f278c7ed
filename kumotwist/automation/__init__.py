"""Shaping that reacts: what receiving sites answer leads to what the rules of `automation` say, for a time."""
