"""What stands in conf/examples, run as real servers over real sockets."""
