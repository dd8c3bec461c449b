import numpy as np
import threadpoolctl

from llm_repair.selection.threads import one_blas_thread


def blas_threads() -> list[int]:
    """Returns how many threads NumPy's own library uses."""
    folder = np.__file__.rpartition("/numpy/")[0]
    pools = threadpoolctl.threadpool_info()
    return [pool["num_threads"] for pool in pools if pool["filepath"].startswith(f"{folder}/numpy")]


def test_products_run_on_one_thread_while_it_lasts_and_as_before_afterwards() -> None:
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with one_blas_thread():
            within = blas_threads()
        after = blas_threads()

    assert before == after == [2]
    assert within == [1]
