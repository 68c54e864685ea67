#!/usr/bin/env bash
# power_cut.sh BUILD_DIR OUT: a machine to cut the power of, for tests/faults/power_cut.c: OUT/kernel, and OUT/initramfs with
# busybox, the daemon, its libraries and rules/content, all as they are on this machine. The daemon is that of the release build
# beside BUILD_DIR when no source is newer, else BUILD_DIR's own. OUT/mkfs.ext4 and OUT/mkfs.xfs: what makes file systems.
# Where that cannot be: status 1, and one line on stdout that says why. OG_GUEST_ROOT: where boot/ and lib/modules/ of a
# Debian kernel lie (/), for one that is only unpacked. No /dev/kvm is needed: QEMU's own translation loses the same.
#   apt-get install qemu-system-x86 busybox-static socat e2fsprogs xfsprogs linux-image-cloud-amd64
set -euo pipefail
build=$1 out=$2
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin
root=${OG_GUEST_ROOT:-/}
root=${root%/}

cannot() {
    echo "$1"
    exit 1
}

for tool in qemu-system-x86_64 busybox socat mkfs.ext4 mkfs.xfs modprobe ldd; do
    command -v "$tool" >/dev/null || cannot "$tool is not there"
done
ldd "$(command -v busybox)" >/dev/null 2>&1 && cannot "busybox is not linked statically (busybox-static)"
for kernel in "$root"/boot/vmlinuz-*-cloud-amd64 "$root"/boot/vmlinuz-*; do
    version=${kernel##*/vmlinuz-}
    [ -r "$kernel" ] && [ -r "$root/lib/modules/$version/modules.dep" ] && break
    version=''
done
[ -n "$version" ] || cannot "no kernel below $root/boot that can be read, with its modules"

osteoguard=$build/daemon/osteoguard
release=${build%/*}/release/daemon/osteoguard
if [ -x "$release" ] && [ -z "$(find CMakeLists.txt daemon connectors fhir rules \( -name '*.[ch]' -o -name '*.def' -o -name CMakeLists.txt \) -newer "$release" -print -quit)" ]; then
    osteoguard=$release
fi
echo "the guest runs $osteoguard on $version" >&2

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,proc,sys,dev,tmp,modules,usr/share/zoneinfo/Europe}
cp "$(command -v busybox)" "$tree/bin/busybox"
cp /usr/share/zoneinfo/Europe/Berlin "$tree/usr/share/zoneinfo/Europe/"
cp -r rules/content "$tree/content"

n=100
modprobe -d "${root:-/}" -S "$version" --show-depends -a virtio_pci virtio_blk virtio_net ext4 xfs |
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
    while read -r module; do
        cp "$module" "$tree/modules/$((n++))-${module##*/}"
    done

for program in "$osteoguard" "$(command -v socat)"; do
    cp "$program" "$tree/bin/"
    { ldd "$program" || cannot "ldd cannot read $program"; } | grep -oE '/[^ ]+' | while read -r library; do
        mkdir -p "$tree${library%/*}"
        cp -Ln "$library" "$tree$library"
    done
done

cat >"$tree/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do
    insmod "$module" || echo "guest: no $module"
done
for word in $(cat /proc/cmdline); do
    case $word in guest_*=*) eval "${word%%=*}='${word#*=}'" ;; esac
done
mkdir -p "$guest_dir/store"
mount -t "$guest_fs" -o "${guest_mount:-rw}" /dev/vda "$guest_dir/store" || {
    echo "guest: the disk cannot be mounted"
    poweroff -f
}
if [ "$guest_task" = out ]; then # the stores leave on a disk of their own
    tar -c -f /dev/vdc -C "$guest_dir/store" .
    umount "$guest_dir/store"
    sync
    poweroff -f
fi
# What is dirty goes to the disk soon, though nobody asks for it: a store in use lies there half written.
echo 20 >/proc/sys/vm/dirty_writeback_centisecs
echo 30 >/proc/sys/vm/dirty_expire_centisecs
tr -d '\000' </dev/vdb >"$guest_dir/daemon.yaml"
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
for port in $(echo "$guest_ports" | tr , ' '); do # there the host has its own 127.0.0.1 under another name
    socat "TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr,nodelay,fork" "TCP:10.0.2.2:$port,nodelay" &
done
export OSTEOGUARD_HTTP_LISTEN=0.0.0.0:8080 OSTEOGUARD_CONTENT_DIR=/content
echo "guest: begins"
(
    osteoguard serve -c "$guest_dir/daemon.yaml" </dev/null
    echo "guest: ended with $?"
) &
while read -r word; do
    [ "$word" = stop ] && kill -TERM "$(pidof osteoguard)"
done
sleep 1000000
INIT
chmod +x "$tree/init"

mkdir -p "$out"
(cd "$tree" && find . | busybox cpio -o -H newc) 2>/dev/null >"$out/initramfs"
for link in "kernel $kernel" "mkfs.ext4 $(command -v mkfs.ext4)" "mkfs.xfs $(command -v mkfs.xfs)"; do
    ln -sf "${link#* }" "$out/${link%% *}"
done
