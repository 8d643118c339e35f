"""What services are put together from, and the three services of a cloud; `onehost` is all of them in one process."""
