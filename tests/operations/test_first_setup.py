"""Setup: what is asked, what is stored and where, and that no key is shown on the way."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from cli.app import main
from tasks.errors import SettingsError, VolumeMissing
from tasks.operations import first_setup
from tasks.operations.first_setup import ask_all, ask_here, asker_here, asker_of, next_steps
from tasks.operations.keys import keys_of, with_line, write_key
from tasks.operations.machine import Machine, Ran
from tasks.secrets import find_secret, key_file, secret_place
from tasks.settings import PROJECT, load_settings

KEY = "setup-key-of-eia-1234"  # pragma: allowlist secret
OTHER = "another-of-fred-5678"  # pragma: allowlist secret
ADDRESS = "mailtos://person:planted-word@smtp.example.org?to=a@example.org"  # pragma: allowlist secret


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without a keychain, in a checkout of its own."""
    for name in [name for name in os.environ if name.endswith("_API_KEY") or name.startswith("CBI_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    for folder in ("person", "checkout"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("CBI_REGISTRY", str(PROJECT / "registry"))
    own = Machine(
        system="Linux", project=tmp_path / "checkout", user_folder=tmp_path / "person", run=lambda _: Ran(0, "")
    )
    monkeypatch.setattr("tasks.operations.machine.Machine", lambda: own)
    return own


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    file = tmp_path / "answers.env"
    file.write_text(
        f"CBI_HOME={tmp_path}/my data\nEIA_API_KEY={KEY}\nCBI_NOTIFY={ADDRESS}\nTIME_ZONE=Europe/Berlin\n",
        encoding="utf-8",
    )
    file.chmod(0o600)
    return file


@pytest.fixture
def keychain(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[str, str], str]]:
    """A keychain in place of macOS's."""
    stored: dict[tuple[str, str], str] = {}

    class KeyringError(Exception):
        pass

    class NoKeyringError(KeyringError):
        pass

    module = ModuleType("keyring")
    module.get_password = lambda service, name: stored.get((service, name))
    module.set_password = lambda service, name, value: stored.update({(service, name): value})
    module.errors = SimpleNamespace(KeyringError=KeyringError, NoKeyringError=NoKeyringError)
    monkeypatch.setitem(sys.modules, "keyring", module)
    yield stored


def test_the_answers_of_a_file_are_stored_privately_and_none_is_shown(machine, answers, tmp_path, capsys):
    assert main(["setup", "--answers", str(answers)]) == 0
    out, err = capsys.readouterr()
    assert KEY not in out + err and "planted-word" not in out + err
    home = tmp_path / "my data"
    assert load_settings(machine.project).home == home and home.is_dir()
    assert find_secret("EIA_API_KEY") == KEY and find_secret("CBI_NOTIFY") == ADDRESS
    assert secret_place("EIA_API_KEY") == "key file"
    env = machine.project / ".env"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (env, key_file())] == [0o600, 0o600]
    assert KEY not in env.read_text() and stat.S_IMODE(key_file().parent.stat().st_mode) == 0o700
    assert f"EIA_API_KEY: stored in the key file {key_file()}" in out
    assert "sudo timedatectl set-timezone Europe/Berlin" in out
    assert "How long it takes is not measured" in out and "`make daily`" in out and "libomp" in out


def test_it_may_be_run_again_and_changes_nothing_that_is_not_answered(machine, answers, tmp_path, capsys):
    main(["setup", "--answers", str(answers)])
    before = {path: path.read_bytes() for path in (machine.project / ".env", key_file())}
    assert main(["setup", "--answers", str(answers)]) == 0
    assert {path: path.read_bytes() for path in before} == before
    answers.write_text(f"FRED_API_KEY={OTHER}\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["setup", "--answers", str(answers)]) == 0
    out = capsys.readouterr().out
    assert "EIA_API_KEY: set (key file)" in out and f"CBI_HOME: {tmp_path}/my data" in out
    assert find_secret("EIA_API_KEY") == KEY and find_secret("FRED_API_KEY") == OTHER


def test_systemd_and_we_read_the_same_from_the_key_file(machine):
    addresses = "slack://a/b/c mailto://u:p#w@h?to=x&n=1%20"  # pragma: allowlist secret
    write_key("CBI_NOTIFY", addresses)
    [line] = [one for one in key_file().read_text().splitlines() if one.startswith("CBI_NOTIFY")]
    shell = subprocess.run(["sh", "-c", f". {key_file()}; printf %s \"$CBI_NOTIFY\""], capture_output=True, text=True,
                           check=True)  # fmt: skip
    assert shell.stdout == find_secret("CBI_NOTIFY") == addresses
    assert line.startswith('CBI_NOTIFY="')


def test_a_key_file_that_others_may_read_counts_as_none_and_setup_mends_it(machine, answers):
    write_key("EIA_API_KEY", "an-older-key")
    write_key("FRED_API_KEY", "kept-as-it-was")
    key_file().chmod(0o644)
    assert find_secret("EIA_API_KEY") is None
    assert main(["setup", "--answers", str(answers)]) == 0
    assert find_secret("EIA_API_KEY") == KEY and find_secret("FRED_API_KEY") == "kept-as-it-was"


def test_a_keychain_takes_the_keys_and_no_file_does(machine, keychain, answers):
    assert main(["setup", "--answers", str(answers)]) == 0
    assert keychain == {("cbi", "EIA_API_KEY"): KEY, ("cbi", "CBI_NOTIFY"): ADDRESS}
    assert not key_file().exists() and secret_place("EIA_API_KEY") == "keychain"


def test_no_program_is_started_with_a_key(machine, keychain, answers, monkeypatch):
    started: list[str] = []
    real = subprocess.Popen.__init__

    def noted(self, args, *given, **named):
        started.append(f"{args} {named.get('env')}")
        real(self, args, *given, **named)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    assert main(["setup", "--answers", str(answers)]) == 0
    assert not [one for one in started if KEY in one or "planted-word" in one]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("EIA_APIKEY=abcdefgh", "Did you mean EIA_API_KEY?"),
        ("EIA_API_KEY=<put it here>", "EIA_API_KEY does not look like a key"),
        ("CBI_HOME=relative/folder", "is relative"),
        ("CBI_HOME=/Volumes/Data/cbi", "the volume Data, which is not mounted"),
        ("TIME_ZONE=Europe/Berln", "Did you mean Europe/Berlin?"),
        ("CBI_NOTIFY=nosuchkind://planted-word@host", "address 1 is not one that Apprise knows"),
        (f"EIA_API_KEY='{'$' * 8}'", "Set it in the environment"),
    ],
)
def test_a_wrong_answer_is_refused_without_its_value(machine, answers, line, words, capsys, caplog):
    answers.write_text(line + "\n", encoding="utf-8")
    assert main(["setup", "--answers", str(answers)]) == 1
    out, err = capsys.readouterr()
    assert words in err and "put it here" not in err + out and "planted-word" not in err + out + caplog.text
    assert not key_file().exists() and not (machine.project / ".env").exists()


def test_one_wrong_key_in_a_file_of_answers_stores_none_of_them(machine, answers):
    answers.write_text(answers.read_text(encoding="utf-8") + "FRED_API_KEY=<your key>\n", encoding="utf-8")
    assert main(["setup", "--answers", str(answers)]) == 1
    assert not key_file().exists() and not (machine.project / ".env").exists()


def test_answers_that_others_may_read_are_refused(machine, answers, capsys):
    answers.chmod(0o640)
    assert main(["setup", "--answers", str(answers)]) == 1
    assert "chmod 600" in capsys.readouterr().err and not key_file().exists()


def test_without_a_terminal_and_answers_it_says_what_to_give(machine, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    assert main(["setup"]) == 1
    assert "give --answers FILE" in capsys.readouterr().err


def test_at_a_terminal_keys_are_read_hidden_enter_keeps_and_a_wrong_answer_is_asked_again(machine, tmp_path):
    shown: list[str] = []
    typed = iter(["relative", str(tmp_path / "home"), ""])  # home twice, time zone kept
    hidden = iter([KEY, *[""] * 20])
    ask_here(machine, asker_here(lambda _: next(typed), lambda _: next(hidden), shown.append), shown.append)
    text = "\n".join(shown)
    assert "SettingsError: CBI_HOME 'relative' is relative" in text
    assert load_settings(machine.project).home == tmp_path / "home"
    assert find_secret("EIA_API_KEY") == KEY and KEY not in text
    assert "Get it at https://www.eia.gov/opendata/register.php, free" in text
    assert "FRED_API_KEY, for: FRED, Federal Reserve Bank of St. Louis (works without the key, with less data)" in text


def test_every_key_of_the_registry_is_asked_for_with_its_page(machine, registry):
    asked = {one.name: one.words for one in first_setup.questions(machine)}
    for key in keys_of(registry.sources):
        assert key.page in asked[key.name]
    assert next(iter(asked)) == "CBI_HOME" and {"CBI_NOTIFY", "TIME_ZONE"} < set(asked)


def test_the_environment_that_counts_first_is_named(machine, answers, tmp_path, monkeypatch):
    monkeypatch.setenv("EIA_API_KEY", "another-in-the-environment")
    monkeypatch.setenv("CBI_HOME", str(tmp_path / "other"))
    lines = list(ask_all(machine, asker_of(first_setup.answers_in(answers), machine)))
    assert any(line.startswith("EIA_API_KEY") and "unset EIA_API_KEY" in line for line in lines)
    assert any(line.startswith("CBI_HOME") and "unset CBI_HOME" in line for line in lines)


def test_a_home_that_cannot_be_written_is_refused(machine, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.operations.first_setup.try_to_write", lambda _: ("cannot be written: no", "chmod"))
    with pytest.raises(SettingsError, match="cannot be written: no"):
        first_setup.home_taken(str(tmp_path / "x"), machine=machine)
    with pytest.raises(VolumeMissing):
        first_setup.home_taken("/Volumes/Gone/cbi", machine=machine)


def test_the_next_steps_of_a_mac_have_its_wake_command(machine):
    from dataclasses import replace

    text = "\n".join(next_steps(replace(machine, system="Darwin")))
    assert "sudo pmset repeat wakeorpoweron" in text and "`make install-mac`" in text


def test_a_line_replaces_the_last_of_its_name_and_other_lines_stay():
    text = "# mine\nexport A=1\nB=2\nA=3\n"
    assert with_line(text, "A", "A='4'") == "# mine\nB=2\nA='4'\n"
    assert with_line(text, "C", "C='5'") == text + "C='5'\n"
    assert with_line("", "C", "C='5'") == "C='5'\n"
