#!/bin/sh
# other_rabbitmq.sh SUITE FOLDER: unpack the RabbitMQ of another Debian into FOLDER, without installing it.
#
# FOLDER/bin is then a value for UNOAPI_RABBITMQ_BIN. trixie has RabbitMQ 4.0. Needs root, debootstrap, and 1 GB.
set -eu
suite=$1 folder=$2
checkout=$(cd "$(dirname "$0")/../.." && pwd)
tree=$folder/tree programs=$folder/bin

[ -e "$tree/usr/lib/rabbitmq/bin/rabbitmq-server" ] || debootstrap --variant=minbase --include=rabbitmq-server "$suite" "$tree"
mkdir -p "$programs"
for program in /usr/lib/rabbitmq/bin/rabbitmq-server /usr/lib/rabbitmq/bin/rabbitmqctl "$(cd "$tree" && echo usr/lib/erlang/erts-*/bin/epmd)"; do
    # In a mount namespace of its own the program sees its own system, and this machine's processes and files.
    cat >"$programs/${program##*/}" <<EOF
#!/bin/sh
exec unshare --mount sh -c '
    for shared in /proc /dev /tmp "$checkout"; do
        mkdir -p "$tree\$shared"
        mount --rbind "\$shared" "$tree\$shared"
    done
    exec chroot "$tree" "/${program#/}" "\$@"
' "${program##*/}" "\$@"
EOF
    chmod +x "$programs/${program##*/}"
done
echo "$programs"
