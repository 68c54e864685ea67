#!/usr/bin/env bash
# check_keys.sh OSTEOGUARD: `check` tries certificates and keys as `serve` would, without listening anywhere.
set -uo pipefail
cd "$(dirname "$0")/../.."
osteoguard=${1:?}
content=$PWD/rules/content
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
[[ $osteoguard == /* ]] || osteoguard=$OLDPWD/$osteoguard
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=ehr -days 2 -keyout a.key -out a.pem 2>/dev/null &&
    openssl ecparam -genkey -name prime256v1 -out other.key 2>/dev/null || exit 1
broken=0

tells() { # tells STATUS TEXT LINE...: of this configuration
    local wanted=$1 text=$2 said status=0
    shift 2
    printf '%s\n' 'endpoints: {ehr: {url: "https://ehr/"}}' "content: {dir: $content}" "$@" >c.yaml
    said=$("$osteoguard" check -c c.yaml 2>&1) || status=$?
    [ "$status" -eq "$wanted" ] && [[ $said == *"$text"* ]] && return
    echo "$*: status $status: $said"
    broken=1
}

tells 0 'good' 'hooks: {listen: "127.0.0.1:9443", cert_file: a.pem, key_file: a.key, client_ca_file: a.pem}'
tells 1 'hooks: error: certificate and key cannot be used' 'hooks: {listen: "127.0.0.1:9443", cert_file: a.pem, key_file: other.key}'
tells 1 'there is no certificate' 'hooks: {listen: "127.0.0.1:9443", cert_file: a.pem, key_file: a.key, client_ca_file: a.key}'
tells 1 'a.key: error: the private key is no JWK' 'fhir_servers: {f: {url: "https://ehr/fhir", client_id: us, private_jwk_file: a.key}}'
exit "$broken"
