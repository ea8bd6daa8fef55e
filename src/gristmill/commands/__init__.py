"""The only way to change things: every face calls these functions."""
