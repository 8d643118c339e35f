"""Disks on Ceph's RBD: the only place besides the hypervisor's QEMU that talks to a Ceph cluster.

names          RbdImage, Endpoint: what is where, and how to get there
cluster        Clusters, Cluster: pooled connections, each call with a deadline
snapshots      create, remove, protect, children
images         create, clone, remove, parents
flatten        a clone made independent of its parent, with progress and a rate
capabilities   what a user may do, which clones a cluster takes, how much room a pool has
reader, sink   the two ends of the data path
"""
