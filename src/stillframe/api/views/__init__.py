"""Records as the JSON that clients read: pure functions of a record and of how it is asked for."""
