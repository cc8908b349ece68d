"""What erasures come to in spools; calls by metadata; calls without texts wait for no group."""

import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('factory', '0007_suitability_reports'),
    ]

    operations = [
        migrations.CreateModel(
            name='ErasedSpool',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('host', models.CharField(max_length=255)),
                ('dropped', models.PositiveBigIntegerField(default=0)),
                ('dead', models.PositiveBigIntegerField(null=True)),
                ('cleared_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.RemoveIndex(
            model_name='capturedcall',
            name='calls_to_group',
        ),
        migrations.AddIndex(
            model_name='capturedcall',
            index=models.Index(condition=models.Q(('group', None), models.Q(('route_reason__endswith', '_without_texts'), _negated=True)), fields=['project', 'id'], name='calls_to_group'),
        ),
        migrations.AddIndex(
            model_name='capturedcall',
            index=django.contrib.postgres.indexes.GinIndex(fields=['metadata'], name='calls_by_metadata', opclasses=['jsonb_path_ops']),
        ),
        migrations.AddField(
            model_name='erasedspool',
            name='erasure',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='spools', to='factory.erasure'),
        ),
        migrations.AddConstraint(
            model_name='erasedspool',
            constraint=models.UniqueConstraint(fields=('erasure', 'host'), name='erased_spool_once_per_host'),
        ),
    ]
