#!/bin/bash
# setup.sh [--dev] [--clients] [--cloud]: installs on Debian 12 what Stillframe needs to run its demo; --dev adds what the
# checks, tests and benchmarks need, --clients the OpenStack clients in an environment of their own, --cloud Keystone,
# Glance, Cinder, Nova and Placement in one each. Run again, it only looks.
set -euo pipefail
cd "$(dirname "$0")/.."
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

PACKAGES=(
    libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils
    python3-venv python3-libvirt python3-libnbd python3-rados python3-rbd
    busybox-static gcc libc6-dev lz4 e2fsprogs grub-pc-bin grub-common # the test guest and its disks
)
DEV_PACKAGES=(curl libnbd-bin xfsprogs btrfs-progs mariadb-server-core mariadb-client-core systemd
    ceph-mon ceph-osd ceph-common qemu-block-extra libfuse3-3 iproute2)
BINDINGS=(libvirt.py libvirt_qemu.py libvirtmod.*.so libvirtmod_qemu.*.so nbd.py libnbdmod.*.so rados.*.so rbd.*.so)

dev=no clients=no cloud=no
for word in "$@"; do
    case $word in
    --dev) dev=yes ;;
    --clients) clients=yes ;;
    --cloud) cloud=yes ;;
    *) echo "usage: $0 [--dev] [--clients] [--cloud]" >&2 && exit 2 ;;
    esac
done

as_root() { if [ "$EUID" = 0 ]; then "$@"; else sudo --preserve-env=DEBIAN_FRONTEND,LC_ALL "$@"; fi; }

updated=no
apt_update() { [ $updated = yes ] || { as_root apt-get update -q && updated=yes; }; }

install_packages() { # only what is missing
    local missing=() package
    for package in "$@"; do
        [ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    echo "setup: installing ${missing[*]}"
    apt_update
    as_root apt-get install -q -y --no-install-recommends "${missing[@]}"
}

mount_points() { # what the tests' and the demo's libvirtds lay their own directories over
    local place
    for place in /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt; do
        [ -d $place ] || as_root mkdir -p $place
    done
}

libvirt_user() { # libvirtd does not start without this user, which Debian makes in a package that needs systemd
    getent passwd libvirt-qemu >/dev/null || as_root useradd --system --user-group --no-create-home \
        --home-dir /var/lib/libvirt --shell /usr/sbin/nologin libvirt-qemu
}

install_postgres() { # without the server that Debian would make and start
    local settings=/etc/postgresql-common/createcluster.d
    [ ! -x /usr/lib/postgresql/15/bin/postgres ] || return 0
    as_root mkdir -p $settings
    echo "create_main_cluster = false" | as_root tee $settings/stillframe.conf >/dev/null
    install_packages postgresql-15
    as_root rm $settings/stillframe.conf
}

install_rabbitmq() { # without the broker that Debian would start, now and at every boot
    local policy=/usr/sbin/policy-rc.d made=no
    [ ! -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || return 0
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
        made=yes
    fi
    install_packages rabbitmq-server
    [ $made = no ] || as_root rm $policy
    as_root systemctl disable --quiet rabbitmq-server.service epmd.socket 2>/dev/null || true # there may be no systemd
}
constraints=constraints.txt

# environment DIR KEY PIP-ARGUMENTS...: pip in a virtual environment, unless it has been done with the same KEY.
environment() {
    local directory=$1 key=$2 stamp=$1/.setup-$2
    shift 2
    local want
    want=$(cat tools/setup.sh pyproject.toml "$constraints" /etc/debian_version | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
    [ -x "$directory/bin/python" ] || /usr/bin/python3 -m venv "$directory"
    echo "setup: $directory ($key)"
    "$directory/bin/pip" install -q -c "$constraints" pip # the one that comes with Debian knows no groups
    "$directory/bin/pip" install -q -c "$constraints" "$@"
    echo "$want" >"$stamp"
}

link_bindings() { # DIR NAME...: from the distribution just these modules, so that nothing else of it gets in
    local site name
    site=$(echo "$1"/lib/python3.*/site-packages)
    shift
    for name in "$@"; do
        ln -sf /usr/lib/python3/dist-packages/$name "$site/"
    done
}

openstack_services() {
    local name
    local constraints=constraints-cloud.txt # their own: an OpenStack release fits together
    environment .venv-keystone keystone keystone PyMySQL cheroot
    environment .venv-glance glance glance PyMySQL cheroot
    environment .venv-cinder cinder cinder PyMySQL cheroot
    environment .venv-nova nova nova PyMySQL cheroot
    environment .venv-placement placement openstack-placement PyMySQL cheroot
    for name in glance cinder; do
        link_bindings .venv-$name "rados.*.so" "rbd.*.so"
    done
}

install_packages "${PACKAGES[@]}"
if [ $dev = yes ]; then
    install_packages "${DEV_PACKAGES[@]}"
    install_postgres
    install_rabbitmq
fi
libvirt_user
mount_points
if [ $dev = yes ]; then
    environment .venv dev --editable ".[postgresql,mariadb]" --group dev
    cp .venv/.setup-dev .venv/.setup-runtime
else
    environment .venv runtime --editable .
fi
link_bindings .venv "${BINDINGS[@]}"
[ $clients = no ] || environment .venv-clients clients --group clients
[ $cloud = no ] || openstack_services
.venv/bin/python -m lab.guest >/dev/null || { apt_update && .venv/bin/python -m lab.guest; }
