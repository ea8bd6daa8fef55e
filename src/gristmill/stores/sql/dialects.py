"""The names of the dialects, as SQLAlchemy and our users know them; here, so that one need not load the other's driver."""

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
