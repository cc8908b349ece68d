"""The tables of calls become partitioned by month, on the time in a call's id."""

import django.contrib.postgres.indexes
from django.db import migrations, models

PARTITION = """
ALTER TABLE {table} RENAME TO {table}_plain;
CREATE TABLE {table} (LIKE {table}_plain INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE ({column});
DROP TABLE {table}_plain;
ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY ({column});
-- What comes from no ordinary month waits here.
CREATE TABLE {table}_other PARTITION OF {table} DEFAULT;
"""
# Compressed already: PostgreSQL's own compression would only cost time.
AS_IT_IS = "ALTER TABLE factory_callpayload ALTER COLUMN body SET STORAGE EXTERNAL"
TABLES = {
    "factory_capturedcall": "id",
    "factory_callpayload": "call_id",
    "factory_calltext": "call_id",
}


class Migration(migrations.Migration):
    dependencies = [("factory", "0001_initial")]

    operations = [
        *[
            migrations.RunSQL(PARTITION.format(table=table, column=column))
            for table, column in TABLES.items()
        ],
        migrations.RunSQL(AS_IT_IS),
        migrations.AddIndex(
            model_name='capturedcall',
            index=models.Index(fields=['project', '-id'], name='calls_by_time'),
        ),
        migrations.AddIndex(
            model_name='capturedcall',
            index=models.Index(condition=models.Q(('group__isnull', False)), fields=['group', '-id'], name='calls_by_group'),
        ),
        migrations.AddIndex(
            model_name='capturedcall',
            index=models.Index(condition=models.Q(('response_id', ''), _negated=True), fields=['project', 'response_id'], name='calls_by_response'),
        ),
        migrations.AddIndex(
            model_name='capturedcall',
            index=models.Index(condition=models.Q(('group', None)), fields=['project', 'id'], name='calls_to_group'),
        ),
        migrations.AddIndex(
            model_name='capturedcall',
            index=models.Index(condition=models.Q(('curated_at', None), ('group__isnull', False)), fields=['group', 'id'], name='calls_to_curate'),
        ),
        migrations.AddIndex(
            model_name='calltext',
            index=django.contrib.postgres.indexes.GinIndex(fields=['document'], name='calls_by_words'),
        ),
    ]
