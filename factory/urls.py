"""The URL map; later packages are named by string, so that the site imports none of them."""

from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
]
