from tests.flows.conftest import first_run, prefect_server, run_daily

__all__ = ["first_run", "prefect_server", "run_daily"]
