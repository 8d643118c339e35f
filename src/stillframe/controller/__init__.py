"""Records what is wanted and what becomes of it: servers, captures, the decisions between racing wishes."""
