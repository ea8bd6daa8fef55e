"""${message}."""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
LOST = "what this step added"


def upgrade() -> None:
    ${upgrades}


def downgrade() -> None:
    ${downgrades}
