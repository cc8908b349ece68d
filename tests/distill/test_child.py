"""The child process knows nothing it does not need."""

from distill.child import child_environment


def test_a_child_gets_no_secret_of_the_site() -> None:
    parent = {
        "PATH": "/usr/bin",
        "HF_TOKEN": "hf_x",
        "CUDA_VISIBLE_DEVICES": "0",
        "DATABASE_URL": "postgres://u:secret@h/d",
        "SECRET_KEY": "s",
        "OPENAI_API_KEY": "k",
        "AWS_SECRET_ACCESS_KEY": "a",
    }

    environment = child_environment(parent, threads=2)

    assert {"PATH", "HF_TOKEN", "CUDA_VISIBLE_DEVICES"} <= set(environment)
    assert not {"DATABASE_URL", "SECRET_KEY", "OPENAI_API_KEY"} & set(environment)
    assert not any("secret" in value or value in "ska" for value in environment.values())
    assert environment["OMP_NUM_THREADS"] == "2"
