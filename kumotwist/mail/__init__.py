"""What a message is: the words that every stage speaks.  No Twisted, no files, no clock."""
