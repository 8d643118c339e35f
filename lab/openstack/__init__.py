"""Keystone and Glance as a cloud has them: real ones, each in a virtual environment of its own."""
