"""Feedback that may come before its call, and traced calls of which only a part has come."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('factory', '0003_capture_loss'),
    ]

    operations = [
        # Nothing wrote feedback before there was a door for it: the table is empty.
        migrations.DeleteModel(
            name='Feedback',
        ),
        migrations.CreateModel(
            name='Feedback',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reference', models.CharField(max_length=128)),
                ('kind', models.CharField(choices=[('boolean', 'Boolean'), ('score', 'Score'), ('comment', 'Comment'), ('demonstration', 'Demonstration')], max_length=16)),
                ('name', models.CharField(blank=True, max_length=64)),
                ('value', models.JSONField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('call', models.ForeignKey(db_constraint=False, null=True, on_delete=models.CASCADE, related_name='feedback', to='factory.capturedcall')),
                ('project', models.ForeignKey(on_delete=models.CASCADE, related_name='feedback', to='factory.project')),
            ],
            options={
                'constraints': [
                    models.UniqueConstraint(condition=models.Q(('call__isnull', False)), fields=('call', 'kind', 'name'), name='one_word_per_call'),
                    models.UniqueConstraint(condition=models.Q(('call', None)), fields=('project', 'reference', 'kind', 'name'), name='one_word_per_awaited_call'),
                ],
            },
        ),
        migrations.CreateModel(
            name='HeldSpan',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('request_id', models.CharField(max_length=128)),
                ('span', models.JSONField(null=True)),
                ('events', models.JSONField(default=list)),
                ('placeholders', models.JSONField(default=list)),
                ('first_at', models.DateTimeField(auto_now_add=True)),
                ('project', models.ForeignKey(on_delete=models.CASCADE, related_name='held_spans', to='factory.project')),
            ],
            options={
                'indexes': [models.Index(fields=['first_at'], name='held_spans_by_age')],
                'constraints': [models.UniqueConstraint(fields=('project', 'request_id'), name='held_span_per_call')],
            },
        ),
    ]
