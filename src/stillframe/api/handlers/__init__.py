"""One class a resource: each method is policy first, then schema, then work."""
