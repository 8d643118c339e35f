"""The only place that knows how controller and agents reach each other."""
