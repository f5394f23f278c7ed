"""The whole server in one process and one thread: its time, network, disks, name servers and chance are ours to play with."""
