"""The host's service: its inventory, its captures, the journal of leases, recovery, and the guard."""
