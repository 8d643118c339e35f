"""Every failure that somebody is told of, a module for each source; base.py says what they have in common."""
