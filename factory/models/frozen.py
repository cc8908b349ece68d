"""Rows that are never changed, by a trigger of the database: no bug and no console gets past it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import BaseConstraint, Model

Editor = BaseDatabaseSchemaEditor | None

# What a transaction says that may change frozen rows all the same.
SWITCH = "understudy.erasure"
CREATE = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('{switch}', true) = 'on' THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - '{open}'::text[] = to_jsonb(OLD) - '{open}'::text[] THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '{table} is frozen: its rows are neither changed nor deleted'
        USING ERRCODE = 'restrict_violation', CONSTRAINT = '{name}';
END $$;
CREATE TRIGGER {name} BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION {name}();
"""
DROP = "DROP TRIGGER {name} ON {table}; DROP FUNCTION {name}();"


class Frozen(BaseConstraint):
    """A constraint that refuses to change or delete rows, except the columns that stay open.

    Raises `IntegrityError`, as other constraints do.
    """

    def __init__(self, *, name: str, open_columns: tuple[str, ...] = ()) -> None:
        super().__init__(name=name)
        self.open_columns = tuple(open_columns)

    def create_sql(self, model: type[Model] | None, schema_editor: Editor) -> str:  # noqa: ARG002
        """Return the trigger of an existing table."""
        return self._sql(CREATE, model)

    def remove_sql(self, model: type[Model] | None, schema_editor: Editor) -> str:  # noqa: ARG002
        """Return what takes the trigger off."""
        return self._sql(DROP, model)

    def constraint_sql(self, model: type[Model] | None, schema_editor: Editor) -> str:
        """Add the trigger once a new table is there: a part of CREATE TABLE it cannot be."""
        assert schema_editor is not None
        schema_editor.deferred_sql.append(self._sql(CREATE, model))
        return ""

    def validate(self, *_args: Any, **_kwargs: Any) -> None:
        """Have nothing to say about a single row."""

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        """Return how a migration writes it down."""
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "open_columns": self.open_columns}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and self.deconstruct() == other.deconstruct()

    def __hash__(self) -> int:
        return hash((self.name, self.open_columns))

    def _sql(self, template: str, model: type[Model] | None) -> str:
        assert model is not None
        columns = "{" + ",".join(self.open_columns) + "}"
        table = model._meta.db_table
        return template.format(name=self.name, table=table, open=columns, switch=SWITCH)


@contextmanager
def thawed() -> Iterator[None]:
    """Let the transaction, which must be open, change frozen rows: only an erasure may."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL {SWITCH} = 'on'")
        yield
        cursor.execute(f"SET LOCAL {SWITCH} = 'off'")
