"""A chat template is told that does not render, or that renders what cannot be answered or trained on."""

import pytest

from tests.model_test.folders import ALWAYS, found, unusual

WHOLE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "status", "told"),
    [
        (WHOLE, "note", "thinking cannot be turned off"),
        ("{{ raise_exception('no') }}", "failed", "the template fails: no"),
        ("{{ messages[5].content }}", "failed", "the template fails"),
        (WHOLE.replace("{{ m.content }}", "hello"), "failed", "is not in the text"),
        (WHOLE.replace("assistant\n", "model\n"), "failed", "opens no turn of the assistant"),
        (WHOLE.replace("<|im_end|>\n{% endfor", "\n{% endfor"), "failed", "does not end an assistant turn"),
        (WHOLE.replace("{{ m.role }}", "user"), "failed", "an answer is not one turn"),
        (WHOLE.replace("<|im_start|>{{", "<|im_start |>{{"), "failed", "an answer is not one turn"),
    ],
)
def test_what_a_template_lacks_is_told(folder, template, status, told):
    (folder / "chat_template.jinja").write_text(template)
    checks = found(folder)
    assert unusual(checks) == {"chat template": status} | ALWAYS
    assert told in checks["chat template"].detail


def test_a_folder_without_a_template_fails_and_its_chats_are_skipped(folder):
    (folder / "chat_template.jinja").unlink()
    chat = {"name": "hello", "kind": "chat", "messages": ({"role": "user", "content": "Hello!"},)}
    checks = found(folder, chat, {"name": "text", "kind": "text", "prompt": "Hello"})
    assert unusual(checks) == {"chat template": "failed"} | ALWAYS
    assert checks["generation, hello"].detail == "'chat template' failed"
    assert checks["generation, text"].status == "ok"
