from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("factory", "0002_partition_calls")]

    operations = [
        migrations.CreateModel(
            name='CaptureLoss',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('host', models.CharField(max_length=255)),
                ('source', models.CharField(max_length=100)),
                ('reason', models.CharField(max_length=32)),
                ('count', models.PositiveBigIntegerField()),
                ('first_at', models.DateTimeField()),
                ('last_at', models.DateTimeField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('host', 'source', 'reason'), name='one_loss_per_file_and_reason')],
            },
        ),
    ]
