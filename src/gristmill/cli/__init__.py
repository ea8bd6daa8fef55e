"""The command line: it parses and prints; rules live in commands and insights."""
