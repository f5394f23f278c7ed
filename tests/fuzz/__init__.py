"""
Every parser that reads what strangers send, fed with what hypothesis makes: nothing but its own refusal comes of it.

The suite runs a hundred inputs of each, always the same ones.  `python -m tests.fuzz NAME --minutes N` goes on for as long as
one likes, with inputs that are not the same; what it finds is printed, made small, and becomes a test beside the parser.
"""
