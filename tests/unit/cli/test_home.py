from __future__ import annotations

import importlib
import socket
import stat
import tomllib

from llm_repair.cli.home import SERVICES, Home, RunState
from llm_repair.rpc.configuration import Configuration


def _listens(home: Home) -> list[str]:
    tables = tomllib.loads(home.config.read_text())
    names = ("coordinator", "selection", "trainer", "evaluation")
    return [tables[name][key] for name in names for key in ("listen", "metrics_listen")]


def test_the_token_is_long_and_its_owner_alone_may_read_it(tmp_path):
    home = Home(tmp_path / "home")
    home.prepare()
    token = home.token()
    home.prepare()

    assert len(token) >= 32
    assert home.token() == token
    assert stat.S_IMODE(home.token_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700


def test_the_configuration_has_every_section_and_eight_different_loopback_ports(tmp_path):
    home = Home(tmp_path / 'ho"me ü')
    home.prepare()

    home.write_config([tmp_path])

    tables = tomllib.loads(home.config.read_text())
    assert tables["store"] == {"url": f"file://{home.root}/artifacts"}
    assert tables["auth"] == {"token_file": str(home.token_file)}
    assert tables["references"] == {"allowed_roots": [str(tmp_path)]}
    assert tables["coordinator"]["database"] == str(home.database)
    assert len(set(_listens(home))) == 8
    assert all(listen.startswith("127.0.0.1:") for listen in _listens(home))


def test_ports_stay_the_same_until_one_is_taken(tmp_path):
    home = Home(tmp_path / "home")
    home.prepare()
    home.write_config([])
    first = _listens(home)
    home.write_config([])
    second = _listens(home)
    host, _, port = first[3].rpartition(":")
    with socket.create_server((host, int(port))):
        home.write_config([])

    assert second == first
    assert first[3] not in _listens(home)


def test_allowed_roots_of_earlier_starts_stay_while_they_exist(tmp_path):
    home = Home(tmp_path / "home")
    home.prepare()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    home.write_config([tmp_path / "a"])
    home.write_config([tmp_path / "b"])
    (tmp_path / "a").rmdir()
    before = tomllib.loads(home.config.read_text())["references"]["allowed_roots"]

    home.write_config([tmp_path / "b"])

    assert before == [str(tmp_path / "b"), str(tmp_path / "a")]
    assert tomllib.loads(home.config.read_text())["references"]["allowed_roots"] == [str(tmp_path / "b")]


def test_one_holder_at_a_time_and_what_a_killed_one_left_is_not_believed(tmp_path):
    home = Home(tmp_path / "home")
    home.prepare()
    state = RunState("127.0.0.1:1", 1, True, {})
    with home.held() as first:
        home.write_run(state)
        with Home(home.root).held() as second:
            seen = home.running()

    assert (first, second, seen) == (True, False, state)
    assert home.run_file.exists()
    assert home.running() is None


def test_every_service_accepts_the_configuration(tmp_path):
    home = Home(tmp_path / "home")
    home.prepare()
    addresses = home.write_config([tmp_path])

    for service in SERVICES:
        settings = importlib.import_module(f"llm_repair.{service}.settings")
        read = settings.read_settings(Configuration.read(home.config))
        common = read.service if service == "coordinator" else read
        assert common.listen.listen == addresses[service]
        assert common.token == home.token()
        assert common.workers.allowed_roots == (tmp_path,)
