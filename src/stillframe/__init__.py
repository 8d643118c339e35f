"""Stillframe saves a virtual machine as an image while it runs, and never leaves a mess."""
