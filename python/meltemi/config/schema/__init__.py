"""One schema a kind: what fields there are, of which type and range."""
