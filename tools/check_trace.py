#!/usr/bin/env python3
"""Opens the traces of run folders (train.profile) with the reader of TensorBoard's profile plugin and says what its tools show.

  tools/check_trace.py RUN [RUN…]

Needs the PyPI package `xprof` (the plugin; formerly tensorboard-plugin-profile). For each trace: the threads and the names with
the most time as the trace viewer has them, and the tools that open it. Exits with 1 if a trace can't be read, or its steps are
not there, or spans of a thread cross.
"""
import collections
import gzip
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
from xprof.convert import raw_to_tool_data  # noqa: E402, its log's level is read as it loads


def viewer_events(path):
    """(names of threads, complete events) of the trace viewer."""
    data, _ = raw_to_tool_data.xspace_to_tool_data([str(path)], "trace_viewer", {})
    if isinstance(data, bytes):
        data = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    events = json.loads(data)["traceEvents"]
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("ph") == "M" and e.get("name") == "thread_name"}
    return threads, [e for e in events if e.get("ph") == "X"]


def crossing(events):
    """Spans that begin within another of their thread and end behind it; a nanosecond is for rounding."""
    found = 0
    by_thread = collections.defaultdict(list)
    for event in events:
        by_thread[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for spans in by_thread.values():
        ends = []
        for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while ends and ends[-1] <= begin + 0.001:
                ends.pop()
            found += bool(ends) and end > ends[-1] + 0.001
            ends.append(end)
    return found


def check(given, folder):
    # The plugin keeps what it makes beside the trace.
    path = Path(shutil.copy(given, folder))
    threads, events = viewer_events(path)
    steps = sorted(int(e["args"]["step_num"]) for e in events if "step_num" in e.get("args", {}))
    crossed = crossing(events)
    print(f"{given}: {len(events)} spans on {len(threads)} threads, steps {steps}, {crossed} cross")
    time, count = collections.Counter(), collections.Counter()
    for event in events:
        name = threads.get((event["pid"], event["tid"]), "?"), event["name"]
        time[name] += event["dur"]
        count[name] += 1
    for (thread, name), microseconds in time.most_common(20):
        print(f"  {microseconds / 1000:12.3f} ms {count[thread, name]:7d} x  {thread:24s} {name}")
    for tool in raw_to_tool_data.xspace_to_tool_names([str(path)]):
        try:
            data, kind = raw_to_tool_data.xspace_to_tool_data([str(path)], tool, {})
            print(f"  {tool}: {len(data) if data else 0} bytes of {kind}")
        except Exception as error:  # a tool for other devices
            print(f"  {tool}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    return bool(steps) and not crossed


def main():
    wrong = 0
    for run in map(Path, sys.argv[1:]):
        traces = sorted(run.glob("plugins/profile/*/*.xplane.pb"))
        if not traces:
            print(f"{run}: there is no trace")
            wrong += 1
        for trace in traces:
            with tempfile.TemporaryDirectory() as folder:
                wrong += not check(trace, folder)
    sys.exit(1 if wrong or len(sys.argv) < 2 else 0)


if __name__ == "__main__":
    main()
