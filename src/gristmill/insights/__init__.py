"""The only way to look at things: read-only, the same for every face."""
