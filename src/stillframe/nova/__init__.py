"""Nova, beside which Stillframe works: what is passed on to it, and what is asked of it."""
