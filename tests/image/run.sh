#!/usr/bin/env bash
# Builds the Dockerfile for real and runs the image with the seed's arguments, without a Docker engine: buildah
# (chroot isolation, vfs storage) on a base made by debootstrap and committed under the base's name.
#
# Prerequisite: root, and `apt-get install buildah debootstrap` (done here where apt-get is at hand).
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() {
  echo "SKIPPED image-test: $*"
  if [ "${CI:-}" = true ]; then exit 1; fi
  exit 0
}

step() { printf '==> %s (%ss)\n' "$*" "$SECONDS"; }

[ "$(id -u)" = 0 ] || skip "needs root"
if ! command -v buildah debootstrap >/dev/null; then
  command -v apt-get >/dev/null || skip "needs buildah and debootstrap"
  step "installing buildah and debootstrap"
  { apt-get update && apt-get install --yes --no-install-recommends buildah debootstrap; } >/dev/null 2>&1 \
    || skip "needs buildah and debootstrap, and apt-get could not install them"
fi

export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
python='^/opt/venv/bin/python3? '
work=$(mktemp --directory)
storage=(--root "$work/storage" --runroot "$work/run")
finish() {
  [ -z "${pid:-}" ] || pkill --full "$python" || true
  buildah "${storage[@]}" rm --all >/dev/null 2>&1 || true
  while mountpoint --quiet "$work/storage/overlay"; do umount --lazy "$work/storage/overlay"; done
  rm -rf "$work"
}
trap finish EXIT

# the host's pip configuration, with the local folders and certificates it names, holds inside the build too; without
# its constraints, a file that is not there: the image's requirements are pinned by their hashes
mounts=()
pip_conf="$work/pip.conf"
python3 - >"$pip_conf" <<'PYTHON'
import configparser, subprocess, sys
lines = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
options = configparser.RawConfigParser()
options["global"] = {
    name.split(".")[-1]: value.strip("'").replace("\\n", "\n")
    for name, _, value in (line.partition("=") for line in lines.splitlines())
    if name.startswith(("global.", ":env:.")) and not name.endswith(".constraint")
}
options.write(sys.stdout)
PYTHON
mounts+=(--volume "$pip_conf:/etc/pip.conf:ro")
certificates=$(sed -n 's/^cert = //p' "$pip_conf")
if [ -n "$certificates" ]; then # under a name that the image's own packages do not write to
  sed -i 's,^cert = .*,cert = /etc/host-certificates.crt,' "$pip_conf"
  mounts+=(--volume "$certificates:/etc/host-certificates.crt:ro")
fi
# an index in a folder links to files beside it, so the folder around it is needed
for path in $(grep -oE 'file:///[^ ]+' "$pip_conf" | sed 's,^file://,,; s,/[^/]*$,,' | sort -u) \
  $(sed -n 's/^find-links = //p' "$pip_conf"); do
  [ ! -d "$path" ] || mounts+=(--volume "$path:$path:ro")
done

release=$(awk -F'[: -]' '/^FROM debian:/ {print $3; exit}' Dockerfile)
step "debootstrap $release"
debootstrap --variant=minbase "$release" "$work/base" >"$work/debootstrap.log" 2>&1 \
  || { tail -20 "$work/debootstrap.log"; exit 1; }
for file in /etc/apt/sources.list.d/*.sources /etc/apt/apt.conf.d/*proxy*; do
  [ ! -f "$file" ] || mounts+=(--volume "$file:$file:ro")
done
base=$(buildah "${storage[@]}" from scratch)
buildah "${storage[@]}" copy --quiet "$base" "$work/base" / >/dev/null
buildah "${storage[@]}" commit --quiet --rm "$base" "localhost/debian:$release-slim" >/dev/null
rm -rf "$work/base"

build() { # NAME CONTEXT
  buildah "${storage[@]}" build --format docker --pull-never --layers=false "${mounts[@]}" --tag "localhost/$1" "$2" \
    >"$work/build.log" 2>&1 || { tail -40 "$work/build.log"; exit 1; }
}

start() { # NAME ARGUMENTS…: runs the image's own entrypoint as its own user, as an engine would
  local name=$1
  shift
  container=$(buildah "${storage[@]}" from --pull-never "localhost/$name")
  mapfile -t entrypoint < <(buildah "${storage[@]}" inspect --format \
    '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' "$container" | sed '/^$/d')
  buildah "${storage[@]}" run "$container" -- "${entrypoint[@]}" "$@" >"$work/service.log" 2>&1 &
  pid=$!
  for _ in $(seq 300); do
    if python3 -c "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/health/ready', timeout=4)" 2>/dev/null; then
      return
    fi
    kill -0 "$pid" 2>/dev/null || { cat "$work/service.log"; exit 1; }
    sleep 0.2
  done
  cat "$work/service.log"
  exit 1
}

ask() { # prints the reply to the seed's request
  python3 - <<'PYTHON'
import json, urllib.request
data = {"text": "I am launching a revolutionary product today, buy my shares before they are gone!",
        "key": "123", "messageId": "123456", "history": []}
request = urllib.request.Request("http://127.0.0.1:3000/service_output",
                                 json.dumps({"source": 1, "data": data}).encode(),
                                 {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=120).read().decode())
PYTHON
}

stop() { # SIGTERM to the service; it must end well and soon
  local service
  service=$(pgrep --oldest --full "$python.*llm-inference-service serve")
  kill -TERM "$service"
  for _ in $(seq 100); do
    kill -0 "$service" 2>/dev/null || break
    sleep 0.1
  done
  wait "$pid" || { echo "the service ended with status $?"; cat "$work/service.log"; exit 1; }
  pid=
}

expect() { # WHAT CONDITION…
  local what=$1
  shift
  "$@" || { echo "FAILED: $what"; cat "$work/service.log"; exit 1; }
  echo "ok: $what"
}

step "building the image"
build llm-inference-service:cpu .
buildah "${storage[@]}" images --format '{{.Name}}:{{.Tag}} {{.Size}}'

step "running it with the seed's arguments"
start llm-inference-service:cpu --bind=0.0.0.0:3000 --workers=2
reply=$(ask)
echo "$reply" | cut -c1-100
expect "the reply is a JSON string that is not empty" \
  python3 -c 'import json, sys; reply = json.loads(sys.argv[1]); sys.exit(not (isinstance(reply, str) and reply))' "$reply"
expect "a browser gets the page, and the page its parts" python3 - <<'PYTHON'
import re, urllib.request
def got(path):
    request = urllib.request.Request(f"http://127.0.0.1:3000/{path}", headers={"Accept": "text/html,*/*;q=0.8"})
    return urllib.request.urlopen(request, timeout=10).read().decode()
parts = re.findall(r'(?:src|href)="(page/[^"]+)"', got(""))
assert len(parts) == 3 and all(map(got, parts)), parts
PYTHON
expect "two workers serve, and an engine" test "$(pgrep --count --full "$python.*multiprocessing.spawn")" = 3
expect "they are not root" test -z "$(pgrep --uid 0 --full "$python")"
health=$(buildah "${storage[@]}" inspect --type image localhost/llm-inference-service:cpu \
  | python3 -c "import json, sys; print(json.dumps(json.load(sys.stdin)['Docker']['config']['Healthcheck']['Test']))")
expect "the image's health check holds" buildah "${storage[@]}" run "$container" -- \
  python3 -c "import json, subprocess, sys; subprocess.run(json.loads(sys.argv[1])[1:], check=True)" "$health"
stop
echo "ok: SIGTERM ends it with status 0"

step "deriving an image, as docs/how-to/derive-an-image.md shows"
mkdir "$work/derived"
python3 - "$work/derived" <<'PYTHON'
import pathlib, re, sys
text = pathlib.Path("docs/how-to/derive-an-image.md").read_text()
blocks = dict(re.findall(r'^```\w+ title="([\w.]+)"\n(.*?)^```', text, re.MULTILINE | re.DOTALL))
for name, content in blocks.items():
    (pathlib.Path(sys.argv[1]) / name).write_text(content)
PYTHON
build titles "$work/derived"
start titles --bind=0.0.0.0:3000
reply=$(ask)
echo "$reply" | cut -c1-100
expect "the derived image runs its own workflow" \
  python3 -c 'import json, sys; sys.exit(list(json.loads(sys.argv[1])) != ["title"])' "$reply"
stop
step "image-test passed"
