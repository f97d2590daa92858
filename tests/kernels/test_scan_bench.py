"""The benchmark's rows; no time is asserted."""

import pytest

from hgrn_kernels import bench


@pytest.mark.parametrize("planes", [1, 2])
def test_rows_have_times_and_their_ratio(planes):
    rows = bench.measure_cpu([(2, 8, 4), (1, 5, 3)], planes=planes, repeats=3, warmup=1)
    assert [(r["pass"], r["batch"], r["length"], r["channels"]) for r in rows] == [
        ("forward", 2, 8, 4),
        ("forward+backward", 2, 8, 4),
        ("forward", 1, 5, 3),
        ("forward+backward", 1, 5, 3),
    ]
    for row in rows:
        assert 0 < row["copy_min_ms"] <= row["copy_ms"]
        assert 0 < row["scan_min_ms"] <= row["scan_ms"]
        assert row["ratio"] == pytest.approx(row["scan_ms"] / row["copy_ms"])
        assert row["planes"] == planes
        assert row["dtype"] == "float32"


def test_copy_and_scan_take_turns():
    calls = []
    seconds = bench._take_turns(lambda: calls.append("copy"), lambda: calls.append("scan"), repeats=2, warmup=1)
    assert calls == ["copy", "scan"] * 3
    assert [len(s) for s in seconds] == [2, 2]
