#!/usr/bin/env bash
# Runs the Autobahn WebSocket suite against core_rs/link/examples/echo.rs and fails on any case that is not passed.
#
# The suite needs Python 2.7. One is looked for as $PYTHON27, python2.7 on PATH, and pyenv's 2.7.18; the suite is installed
# for it, once, under target/autobahn. Reports: target/autobahn/reports/index.html.
#
# scripts/autobahn.sh [CASE...]   e.g. 6.4.* 9.*; all cases without compression unless told (12 and 13 are about
#                                 permessage-deflate, which is declined)
set -euo pipefail
cd "$(dirname "$0")/.."

suite=25.10.1
work=${CARGO_TARGET_DIR:-target}/autobahn
mkdir -p "$work"
work=$(cd "$work" && pwd)

find_python27() {
    local candidate
    for candidate in "${PYTHON27:-}" python2.7 "${PYENV_ROOT:-$HOME/.pyenv}/versions/2.7.18/bin/python"; do
        [[ -n $candidate ]] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null &&
            command -v "$candidate" && return
    done
    return 1
}

if [[ ! -x $work/v27/bin/wstest ]]; then
    python27=$(find_python27) || {
        echo 'The Autobahn suite needs Python 2.7 and none was found.' >&2
        echo 'Install one (pyenv install 2.7.18) or name it (PYTHON27=/path/to/python2.7), then run this again.' >&2
        exit 1
    }
    python3 -m venv "$work/host"
    "$work/host/bin/pip" install --quiet 'virtualenv<20.22' # the last that can make an environment for 2.7
    "$work/host/bin/virtualenv" --quiet --python "$python27" "$work/v27"
    "$work/v27/bin/pip" install --quiet --disable-pip-version-check "autobahntestsuite==$suite"
fi

cargo build --locked --package pyrouter-link --example echo
echo_server=${CARGO_TARGET_DIR:-target}/debug/examples/echo
coproc ECHO { exec "$echo_server" 127.0.0.1:0; }
server=$ECHO_PID
trap 'kill "$server" 2>/dev/null || true' EXIT
read -r _ _ address <&"${ECHO[0]}" # "echo on HOST:PORT"

cases=("$@")
[[ $# -gt 0 ]] || cases=('1.*' '2.*' '3.*' '4.*' '5.*' '6.*' '7.*' '9.*' '10.*')
rm -rf "$work/reports"
python3 - "$work" "$address" "${cases[@]}" <<'PYTHON'
import json, sys
work, address, *cases = sys.argv[1:]
servers = [{"agent": "pyrouter", "url": f"ws://{address}", "options": {"version": 18}}]
spec = {"outdir": f"{work}/reports", "servers": servers, "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}}
with open(f"{work}/fuzzingclient.json", "w") as file:
    json.dump(spec, file)
PYTHON
"$work/v27/bin/wstest" --mode fuzzingclient --spec "$work/fuzzingclient.json" >"$work/wstest.log" 2>&1 ||
    { tail -20 "$work/wstest.log" >&2; exit 1; }

python3 - "$work" <<'PYTHON'
import collections, json, sys
with open(f"{sys.argv[1]}/reports/index.json") as file:
    (results,) = json.load(file).values()
table = collections.defaultdict(collections.Counter)
failed = []
for case, result in results.items():
    outcomes = {result["behavior"], result["behaviorClose"]}
    # INFORMATIONAL: the suite asks and does not judge. UNIMPLEMENTED, NON-STRICT, FAILED, WRONG CODE …: not passed.
    if outcomes - {"OK", "INFORMATIONAL"}:
        failed.append((case, result["behavior"], result["behaviorClose"]))
    table[case.split(".")[0]][result["behavior"]] += 1
for section, counts in sorted(table.items(), key=lambda row: int(row[0])):
    print(f"{section:>4}  {sum(counts.values()):>4} cases  " + ", ".join(f"{n} {b}" for b, n in sorted(counts.items())))
print(f" all  {len(results):>4} cases, {len(failed)} not passed; report: {sys.argv[1]}/reports/index.html")
for case, behavior, close in failed:
    print(f"      {case}: {behavior}, close {close}")
sys.exit(bool(failed) or not results)
PYTHON
