#!/bin/sh
# Starts a registry's server, in the foreground, with its users.
#
#   start.sh CONFIGURATION USERS FOLDER [OPTION OF THE SERVER ...]
#
# USERS is a template; what becomes of it is written into FOLDER. The password comes from the
# variable REGISTRY_PASSWORD or from the file that REGISTRY_PASSWORD_FILE names, so that it stands in
# no configuration and in no process list. REGISTRY_SERVER names the program, if not the usual one.
set -eu
umask 077

if [ "$#" -lt 3 ]; then
    echo "usage: start.sh CONFIGURATION USERS FOLDER [OPTION ...]" >&2
    exit 64
fi
configuration=$1 users=$2 folder=$3
shift 3

password=${REGISTRY_PASSWORD:-}
if [ -z "$password" ] && [ -n "${REGISTRY_PASSWORD_FILE:-}" ]; then
    password=$(cat "$REGISTRY_PASSWORD_FILE")
fi
unset REGISTRY_PASSWORD
if [ "${#password}" -lt 16 ]; then
    echo "error: the registry's password must have at least 16 characters; make one with" \
        "'openssl rand -hex 32' and give it as REGISTRY_PASSWORD or REGISTRY_PASSWORD_FILE" >&2
    exit 78
fi

hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
HASH=$hash awk '
    /^[ \t]*(#.*)?$/ { next }
    { gsub(/@PASSWORD_SHA256@/, ENVIRON["HASH"]) }
    /^[ \t]/ { line = line $0; next }
    { if (line != "") print line; line = $0 }
    END { if (line != "") print line }
' "$users" >"$folder/users.acl"

for server in ${REGISTRY_SERVER:-valkey-server redis-server}; do
    if command -v "$server" >/dev/null; then
        exec "$server" "$configuration" --aclfile "$folder/users.acl" "$@"
    fi
done
echo "error: neither valkey-server nor redis-server is installed" >&2
exit 69
