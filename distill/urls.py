"""Addresses of the loop, runs, evaluations and model versions, below a workload's."""

from django.urls import path

from distill import views

urlpatterns = [
    path("", views.workload, name="workload"),
    path("loop/", views.loop, name="loop"),
    path("runs/", views.runs, name="runs"),
    path("runs/new/", views.new_run, name="new_run"),
    path("runs/<int:run>/", views.run, name="run"),
    path("runs/<int:run>/live/", views.run_live, name="run_live"),
    path("runs/<int:run>/cancel/", views.cancel_run, name="cancel_run"),
    path("runs/<int:run>/publish/", views.publish, name="publish"),
    path("evaluations/<int:evaluation>/", views.evaluation, name="evaluation"),
    path("evaluations/<int:evaluation>/label-set/", views.student_set, name="student_set"),
    path("models/", views.models, name="models"),
    path("models/v<int:number>/", views.model, name="model"),
    path("models/move-alias/", views.move_alias, name="move_alias"),
    path("models/roll-back/", views.roll_back, name="roll_back"),
]
