#!/bin/sh
# Become one process of the installation, or run one management command and end:
#   understudy web|shipper|default|teacher|gpu|beat [OPTION...]
#   understudy manage migrate
set -eu

# A container holds one process, so nothing in it could start the embedded servers.
: "${DATABASE_URL:?must name a PostgreSQL server (postgresql://...)}"
: "${BROKER_URL:?must name a Redis or RabbitMQ server (redis://... or amqp://...)}"
: "${STORAGE_URL:?must name a place that all containers share (s3://... or file:///...)}"

if [ "${1:-}" = manage ]; then
    shift
    exec python manage.py "$@"
fi
exec python manage.py run "$@"
