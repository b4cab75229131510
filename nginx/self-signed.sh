#!/bin/sh
# Makes fullchain.pem and privkey.pem in /certs if there are none, so that a first start has TLS.
# Runs once, in the gateway's image: nginx's Alpine image carries no openssl command, this one does.
# A certificate that someone else put there is never touched; one made here is renewed before it ends, and
# when it is asked for other names.
set -eu

dir=${1:-/certs}
cert=$dir/fullchain.pem
key=$dir/privkey.pem
names=${TLS_NAMES:-localhost,127.0.0.1}
mark="aicore-gateway self-signed"

fail() { echo "certs: $*" >&2; exit 1; }

ours() { openssl x509 -in "$cert" -noout -subject 2>/dev/null | grep -q "$mark"; }

san() {  # "localhost,127.0.0.1" -> "DNS:localhost,IP:127.0.0.1"
    echo "$1" | tr ',' '\n' | sed -e '/^$/d' -e 's/^[0-9.]*$/IP:&/' -e '/^[0-9a-fA-F:]*:[0-9a-fA-F:]*$/s/^/IP:/' \
        -e '/^IP:/!s/^/DNS:/' | paste -sd, -
}

command -v openssl >/dev/null || fail "this image has no openssl command; put your own fullchain.pem and privkey.pem into the volume (TLS_DIR)"
[ -w "$dir" ] || fail "$dir is not writable"

if [ -s "$cert" ] && [ -s "$key" ]; then
    ours || { echo "certs: using the certificate that is there"; exit 0; }
    if [ "$(cat "$dir/names" 2>/dev/null)" != "$names" ]; then
        echo "certs: the self-signed certificate is not for $names: making a new one"
    elif openssl x509 -in "$cert" -noout -checkend 2592000 >/dev/null; then
        echo "certs: the self-signed certificate is good for more than 30 days"
        exit 0
    else
        echo "certs: the self-signed certificate ends within 30 days: making a new one"
    fi
elif [ -s "$cert" ] || [ -s "$key" ]; then
    fail "only one of fullchain.pem and privkey.pem is there; put both into the volume, or neither"
fi

umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days 397 \
    -subj "/O=$mark/CN=${names%%,*}" -addext "subjectAltName=$(san "$names")" \
    -addext "extendedKeyUsage=serverAuth" -keyout "$key.new" -out "$cert.new" 2>/dev/null \
    || fail "openssl could not make a certificate for TLS_NAMES=$names"
chmod 644 "$cert.new"
mv "$key.new" "$key"
mv "$cert.new" "$cert"
echo "$names" >"$dir/names"
echo "certs: made a self-signed certificate for $names"
