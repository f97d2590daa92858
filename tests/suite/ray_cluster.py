"""A Ray cluster of three nodes on this machine, for tests; run as a script, as Ray leaves files and processes open.

The head has no place for cells, the two others one each. It prints the address and the process ids of the two nodes'
daemons; for each process id that it then reads it kills that node, and at the end of its input all others.
"""

import os
import sys
import tempfile
from pathlib import Path

COMMON = {"include_dashboard": False, "object_store_memory": 80_000_000}


def main():
    # Not pytest's folder: the names of sockets may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder  # a cluster of this machine is found by a file there: other tests have theirs
        (Path(folder) / "ray").mkdir()
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **COMMON})
        try:
            nodes = [cluster.add_node(num_cpus=1, **COMMON) for _ in range(2)]
            daemons = {node.all_processes["raylet"][0].process.pid: node for node in nodes}
            print(cluster.address, *daemons, flush=True)
            for line in sys.stdin:
                cluster.remove_node(daemons[int(line)], allow_graceful=False)
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    main()
