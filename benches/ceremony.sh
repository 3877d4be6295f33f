#!/usr/bin/env bash
# How long a ceremony of 3 of 5 custodians and a release of 10 MB take, with SoftHSM: benches/ceremony.sh VOUCH
set -euo pipefail
vouch=$(realpath "$1")
library=/usr/lib/softhsm/libsofthsm2.so
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cd "$room"
umask 077
mkdir tokens
echo "directories.tokendir = $room/tokens" > softhsm2.conf
export SOFTHSM2_CONF=$room/softhsm2.conf
people=(ada ben cleo dan eve)

timed() {
    local what=$1 begun
    begun=$(date +%s%N)
    shift
    "$vouch" "$@" > log 2>&1 || { cat log >&2; exit 1; }
    echo "$what: $((($(date +%s%N) - begun) / 1000000)) ms"
}
card() { echo "$1=pkcs11:$library;token=$1;pin-file=$room/$1.pin"; }

head -c 10000000 /dev/urandom > image
head -c 8 /dev/urandom | od -An -tx1 | tr -d ' \n' > so.pin
for name in hsm "${people[@]}"; do
    head -c 8 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$name.pin"
    "$vouch" ceremony prepare "pkcs11:$library;token=$name" --pin-file "$name.pin" --so-pin-file so.pin > log
done
"$vouch" init --dir server --name iot.example > log
"$vouch" release server-keys --dir server --out server-keys.json > log
custodians=()
for name in "${people[@]}"; do custodians+=(--custodian "$(card "$name")"); done
hsm="pkcs11:$library;token=hsm"
timed "ceremony init" ceremony init --dir ceremony --product till --threshold 3 --hsm "$hsm" --hsm-pin-file hsm.pin \
    --hsm-so-pin-file so.pin --server-keys server-keys.json "${custodians[@]}"
timed "release build" release build --ceremony ceremony --image till-1=image --os-version 1.0.0 --server-keys server-keys.json --out release
for name in ada ben cleo; do
    timed "release approve ($name, against an own build)" release approve release --ceremony ceremony --yes --custodian "$(card "$name")" --image till-1=image
done
timed "release sign" release sign release --ceremony ceremony --hsm "$hsm" --custodian "$(card cleo)" --custodian "$(card dan)" --custodian "$(card eve)"
timed "release assemble" release assemble release --ceremony ceremony --out till.vouchos
timed "release verify" release verify till.vouchos
