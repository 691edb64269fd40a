#!/usr/bin/env bash
# Installs the independent peers that the interoperability tests talk to: `make peers` (Debian, as root).
# Their Python tools (dcmqi, playwright) come with the environment; here is what Debian and npm carry.
set -euo pipefail

readonly PACKAGES=(dcmtk orthanc orthanc-dicomweb orthanc-gdcm dicom3tools chromium)
readonly OHIF_VERSION=3.13.2
readonly AXE_VERSION=4.14.1
readonly CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/segnode"
readonly OHIF="$CACHE/ohif-$OHIF_VERSION"
readonly AXE="$CACHE/axe-core-$AXE_VERSION"
readonly POLICY=/usr/sbin/policy-rc.d

say() { printf 'peers: %s\n' "$*"; }
fail() { printf 'peers: %s\n' "$*" >&2; exit 1; }

missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s\n' "$package"
  done
}

# Debian starts Orthanc on 4242 and 8042 as it is installed; the tests start their own on free ports
without_services() {
  if [ -e "$POLICY" ]; then "$@"; return; fi
  trap 'rm -f "$POLICY"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$POLICY"
  chmod 755 "$POLICY"
  "$@"
  rm -f "$POLICY"
  trap - EXIT
}

install_packages() {
  local wanted
  mapfile -t wanted < <(missing_packages "${PACKAGES[@]}"; command -v npm > /dev/null || echo npm)
  if [ "${#wanted[@]}" -eq 0 ]; then say "Debian's packages are installed"; return; fi
  [ "$(id -u)" -eq 0 ] || fail "installing ${wanted[*]} needs root: run this as root"
  command -v apt-get > /dev/null || fail "this is not Debian: install ${wanted[*]} by hand"
  say "installing ${wanted[*]} ..."
  export DEBIAN_FRONTEND=noninteractive
  apt-get update --quiet=2
  without_services apt-get install --yes --quiet=2 --no-install-recommends "${wanted[@]}" > /dev/null
  command -v systemctl > /dev/null && systemctl disable --quiet orthanc 2> /dev/null || true
}

# fetch_npm NAME PACKAGE VERSION FILE FOLDER: an npm package in FOLDER, which then holds FILE
fetch_npm() {
  local name="$1 $3" work
  if [ -f "$5/$4" ]; then say "$name is in $5"; return; fi
  say "fetching $name ..."
  mkdir -p "$CACHE"
  work="$(mktemp -d "$CACHE/npm.XXXXXX")"
  (cd "$work" && npm pack --silent "$2@$3" > /dev/null && tar -xzf ./*.tgz) ||
    { rm -rf "$work"; fail "$1 could not be fetched by npm"; }
  [ -f "$work/package/$4" ] || fail "the package $2@$3 holds no $4"
  rm -rf "$5"
  mv "$work/package" "$5"
  rm -rf "$work"
  say "$name is in $5"
}

install_packages
fetch_npm OHIF @ohif/app "$OHIF_VERSION" dist/index.html "$OHIF"
fetch_npm axe-core axe-core "$AXE_VERSION" axe.min.js "$AXE"
