#!/usr/bin/env python
"""Every command of Understudy: `manage.py help` lists them, `manage.py up` starts everything."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "factory.settings")
    execute_from_command_line(sys.argv)
