"""Secrets are told by their names and places, taken out of what is kept, and nothing else is."""

from __future__ import annotations

import pytest

from runner.redact import has_credentials, is_secret_name, masked, redacted

MARK = "<redacted sha256:2bb80d53>"  # of "secret"


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("HF_TOKEN", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("AWS_ACCESS_KEY_ID", True),
        ("AWS_SESSION_TOKEN", True),
        ("WANDB_API_KEY", True),
        ("OPENAI_APIKEY", True),
        ("db_password", True),
        ("TOKEN", True),
        ("TOKENIZERS_PARALLELISM", False),
        ("NCCL_DEBUG", False),
        ("GOOGLE_APPLICATION_CREDENTIALS", False),
        ("SSH_AUTH_SOCK", False),
        ("max_tokens", False),
        ("MONKEY", False),
    ],
)
def test_a_secret_is_told_by_its_name(name: str, is_secret: bool) -> None:
    assert is_secret_name(name) is is_secret


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--set cluster.env.HF_TOKEN=secret", f"--set cluster.env.HF_TOKEN={MARK}"),
        ('env = { HF_TOKEN = "secret", A = "1" }', f'env = {{ HF_TOKEN = "{MARK}", A = "1" }}'),
        ('{"WANDB_API_KEY": "secret"}', f'{{"WANDB_API_KEY": "{MARK}"}}'),
        ("export DB_PASSWORD='secret'", f"export DB_PASSWORD='{MARK}'"),
        ("https://h/x?token=secret&y=2", f"https://h/x?token={MARK}&y=2"),
        ("s3://b/x?a=1&secret_key=secret", f"s3://b/x?a=1&secret_key={MARK}"),
        ("https://h/x?X-Amz-Signature=secret", f"https://h/x?X-Amz-Signature={MARK}"),
        ("stages.sft.learning_rate=1e-5", "stages.sft.learning_rate=1e-5"),
        ("max_tokens = 5, total_tokens: 7", "max_tokens = 5, total_tokens: 7"),
        ("hdfs://me@node:9000/x", "hdfs://me@node:9000/x"),
        ("cluster.env={ API_KEY = '' }", "cluster.env={ API_KEY = '' }"),
    ],
)
def test_a_secret_is_replaced_by_a_mark_and_the_rest_stays(text: str, told: str) -> None:
    assert redacted(text) == told
    assert redacted(told) == told


def test_passwords_in_urls_are_replaced_whole() -> None:
    url = "s3://key:pa/ss@bucket/x?endpoint_override=h:1"

    assert "pa" not in redacted(url)
    assert redacted(url).endswith("@bucket/x?endpoint_override=h:1")
    assert [
        has_credentials(one) for one in (url, "s3://b/x?access_key=k", "s3://b/a:b/c", "hdfs://me@h/x")
    ] == [
        True,
        True,
        False,
        False,
    ]


def test_a_masked_line_keeps_its_columns() -> None:
    line = 'env = { HF_TOKEN = "secret", N = 3 } # s3://k:s@b'

    assert masked(line) == 'env = { HF_TOKEN = "******", N = 3 } # s3://***@b'
    assert len(masked(line)) == len(line)
    assert masked("max_length = 3") == "max_length = 3"
