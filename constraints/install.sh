#!/bin/sh
# Creates .venv and installs advsim into it: install.sh PYTHON PROFILE, PROFILE being cpu or gpu.
# uv resolves and installs: unlike pip it can leave packages out (overrides) and choose torch's build by name.
set -eu
python=$1
profile=$2
[ -d .venv ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet uv
# uv does not read pip's settings: hand over where pip was told to look.
setting() {
    .venv/bin/python -m pip config get "global.$1" 2>/dev/null || true
}
links=${PIP_FIND_LINKS:-$(setting find-links)}
index=${PIP_INDEX_URL:-$(setting index-url)}
[ -z "$links" ] || export UV_FIND_LINKS="$links"
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
set -- --constraints "constraints/$profile.txt" --overrides "constraints/overrides-$profile.txt"
if [ "$profile" = gpu ]; then
    set -- "$@" --torch-backend auto
elif ! ls "${links:-/nonexistent}"/torch-*+cpu-*.whl >/dev/null 2>&1; then
    set -- "$@" --torch-backend cpu
fi
.venv/bin/uv pip install --python .venv/bin/python "$@" --editable ".[$profile,embedded,mauve,dev]"
