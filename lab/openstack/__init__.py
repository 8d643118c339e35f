"""Keystone, Glance and Cinder as a cloud has them: real ones, each in a virtual environment of its own."""
