"""Mails, to a real mail server: over TLS or in the clear, in two languages, each end once."""

from collections.abc import Iterator
from email import message_from_bytes, policy

import pytest
from conftest_platform import LOCAL, Plane
from pydantic import SecretStr
from receivers import Authority, MailServer, end, let_pass, log_of, notifier

from tunesmith.language import Language
from tunesmith_platform.notifications import sending


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["starttls", "tls", "none"])
def post_office(
    request: pytest.FixtureRequest, plane: Plane, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MailServer]:
    context = authority.context("127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    server = MailServer(None if request.param == "none" else context, implicit=request.param == "tls")
    settings = plane.settings
    settings.smtp_host, settings.smtp_port, settings.smtp_security = "127.0.0.1", server.port, request.param
    settings.smtp_user, settings.smtp_to = "robot", ["ann@example.com", "bob@example.com"]
    settings.smtp_password = SecretStr("mail-secret")
    settings.smtp_from = "tunesmith@example.com"
    yield server
    server.close()


def test_a_mail_is_sent_for_each_end(plane: Plane, post_office: MailServer) -> None:
    task = end(plane, name="名字 ember")
    for _ in range(2):
        notifier(plane).tick()
    (entry,) = log_of(plane)
    assert (entry.receiver, entry.state, entry.message) == ("email", "delivered", "")
    ((sender, receivers, raw),) = post_office.mails
    assert "tunesmith@example.com" in sender
    assert receivers == ["ann@example.com", "bob@example.com"]
    mail = message_from_bytes(raw, policy=policy.default)
    assert "名字 ember has failed" in mail["Subject"]
    text = mail.get_content()
    assert f"tunesmith tasks autopsy {task.id}" in text
    assert "learning_rate" in text, "what to do next"
    if plane.settings.smtp_security == "none":
        assert post_office.logins == [], "a password does not travel in the clear"
    else:
        assert post_office.logins == ["\0robot\0mail-secret"]


def test_a_mail_that_is_refused_comes_again(plane: Plane, post_office: MailServer) -> None:
    post_office.refusal = "451 later"
    end(plane)
    notifier(plane).tick()
    (entry,) = log_of(plane)
    assert (entry.state, entry.status) == ("pending", 451)
    post_office.refusal = ""
    let_pass(plane)
    notifier(plane).tick()
    assert len(post_office.mails) == 1
    assert plane.services.notifications.test(LOCAL, "email").state == "delivered"


def test_a_mail_server_that_nobody_vouches_for_gets_nothing(
    plane: Plane, post_office: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plane.settings.smtp_security == "none":
        pytest.skip("there is no certificate")
    monkeypatch.delenv("SSL_CERT_FILE")
    end(plane)
    notifier(plane).tick()
    assert (post_office.mails, post_office.logins) == ([], [])
    assert log_of(plane)[0].message == "The mail server did not take it: SSLCertVerificationError."


def test_a_name_cannot_write_headers(plane: Plane, post_office: MailServer) -> None:
    answer = sending.mail(plane.settings, "a\r\nBcc: eve@example.com", "text", 1)
    assert answer.ok
    assert message_from_bytes(post_office.mails[0][2])["Bcc"] is None
    assert "mail-secret" not in repr(plane.settings)


@pytest.mark.parametrize("post_office", ["none"], indirect=True)
def test_a_mail_is_written_in_the_language_of_the_settings(plane: Plane, post_office: MailServer) -> None:
    plane.settings.smtp_language = Language.ZH
    task = end(plane, name="余烬", reason="bad_data")
    notifier(plane).tick()
    mail = message_from_bytes(post_office.mails[0][2], policy=policy.default)
    assert mail["Subject"] == "Tunesmith: 任务 余烬 失败。 数据无法用于训练。 Step 3."
    text = mail.get_content()
    assert f"任务：余烬 ({task.id})" in text
    assert "下一步：请修正消息中指出的数据行。" in text


@pytest.mark.parametrize("post_office", ["none"], indirect=True)
def test_a_warning_sends_no_mail(plane: Plane, post_office: MailServer) -> None:
    task = plane.running()
    plane.report(task, {"kind": "warning", "code": "loss_spike", "message": "The loss rose."})
    notifier(plane).tick()
    assert (log_of(plane), post_office.mails) == ([], [])
