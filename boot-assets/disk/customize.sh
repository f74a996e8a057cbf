#!/bin/sh
# Run by mmdebstrap with the new system's directory: settles what packages alone do not. ARCH is its architecture.
set -eu
root=$1
say() { echo "  image: $*"; }

settle_boot() {
    printf '%s\n' virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod ahci ata_piix nvme vmd mpt3sas \
        megaraid_sas hpsa smartpqi aacraid hisi_sas_v3_hw vmw_pvscsi hv_vmbus hv_storvsc \
        crc32c_generic crc32c_intel ext4 >"$root/etc/initramfs-tools/modules"
    cat >"$root/etc/initramfs-tools/conf.d/firstlight" <<EOF
# An image that is copied to many machines must not hold a list guessed from the one that built it.
MODULES=list
COMPRESS=zstd
RESUME=none
FSTYPE=ext4
EOF
    # Not one of a blade's boots needs these, and each costs seconds before the root is mounted.
    # udev is among them: the drivers are listed above, and the kernel makes the disks' device files.
    for name in hooks/thermal hooks/framebuffer hooks/udev scripts/init-top/udev scripts/init-bottom/udev; do
        rm -f "$root/usr/share/initramfs-tools/$name"
    done
    say "initramfs of the installed system"
    # Not made while the packages came in, each of which would have.
    echo update_initramfs=yes >"$root/etc/initramfs-tools/update-initramfs.conf"
    chroot "$root" update-initramfs -c -k all >/dev/null
    for initrd in "$root"/boot/initrd.img-*; do ln -sf "boot/${initrd##*/}" "$root/initrd.img"; done
    [ -s "$root/initrd.img" ] || { say "no initramfs was made" && exit 1; }
}

settle_services() {
    chroot "$root" systemctl disable etcd.service >/dev/null 2>&1
    chroot "$root" systemctl enable ssh.service systemd-networkd.service >/dev/null 2>&1
    # The blade's address is static and nothing waits for a name server; apt and man pages are nobody's
    # business on a machine that has no way out.
    chroot "$root" systemctl mask systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer \
        dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer \
        getty@tty1.service systemd-pstore.service cloud-init-hotplugd.socket dev-hugepages.mount \
        modprobe@drm.service modprobe@dm_mod.service modprobe@loop.service modprobe@efi_pstore.service \
        sys-kernel-debug.mount sys-kernel-tracing.mount systemd-hwdb-update.service systemd-binfmt.service >/dev/null 2>&1
    # Elsewhere the kernel learns its serial console from the firmware (ACPI SPCR), and systemd from the kernel.
    [ "$ARCH" != amd64 ] || chroot "$root" systemctl enable serial-getty@ttyS0.service >/dev/null 2>&1
}

# Generators run at boot and again at every reload of systemd, each a process.
settle_generators() {
    mkdir -p "$root/etc/systemd/system-generators"
    for name in cryptsetup veritysetup integritysetup hibernate-resume gpt-auto bless-boot system-update rc-local run sysv; do
        ln -s /dev/null "$root/etc/systemd/system-generators/systemd-$name-generator"
    done
    # Beside an old init script `systemctl enable` starts a Perl program, twice.
    rm -f "$root"/etc/init.d/*
}

settle_cloud_init() {
    mkdir -p "$root/var/lib/cloud/seed/nocloud"
    cat >"$root/etc/cloud/cloud.cfg" <<'EOF'
# The seed is written by the installer; nothing on the network is ever asked for one.
datasource_list: [NoCloud]
datasource: {NoCloud: {fs_label: null}}
disable_root: true
preserve_hostname: false
manage_etc_hosts: true
# RSA keys take longer than the rest of a first boot on a slow machine.
ssh_genkeytypes: [ed25519, ecdsa]
ssh_deletekeys: true
users: [default]
cloud_init_modules: [bootcmd, write-files, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [set-passwords, ntp, timezone, runcmd]
cloud_final_modules: [write-files-deferred, scripts-user, phone-home, final-message, power-state-change]
system_info:
  distro: debian
  default_user: {name: debian, lock_passwd: true, gecos: Debian, groups: [adm, sudo], sudo: ["ALL=(ALL) NOPASSWD:ALL"], shell: /bin/bash}
  network: {renderers: [networkd]}
  paths: {cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}
  ssh_svcname: ssh
EOF
    rm -f "$root"/etc/cloud/cloud.cfg.d/90_dpkg.cfg
    # The generator probes the hardware for clouds before anything else starts; the answer is known.
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -s /dev/null "$root/etc/systemd/system-generators/cloud-init-generator"
    ln -s /lib/systemd/system/cloud-init.target "$root/etc/systemd/system/multi-user.target.wants/cloud-init.target"
}

settle_identity() {
    rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub "$root/etc/hostname" "$root/etc/resolv.conf"
    : >"$root/etc/machine-id"
    rm -f "$root/var/lib/dbus/machine-id"
    ln -s /etc/machine-id "$root/var/lib/dbus/machine-id"
    printf 'nameserver 127.0.0.1\n' >"$root/etc/resolv.conf"
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
    cat >"$root/etc/ssh/sshd_config.d/firstlight.conf" <<'EOF'
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
EOF
    chroot "$root" passwd --lock root >/dev/null
}

# What the build takes out of this system and the disk image does not keep.
export_parts() {
    parts=$root/firstlight-parts
    mkdir -p "$parts"
    # shellcheck disable=SC2016 # dpkg-query's variables
    chroot "$root" dpkg-query -W -f '${Package} ${Version} ${Architecture}\n' >"$parts/packages.list"
    if [ "$ARCH" = amd64 ]; then
        say "loader for BIOS"
        chroot "$root" grub-mkimage -O i386-pc -p '(,gpt3)/boot/grub' -o /firstlight-parts/core.img biosdisk \
            part_gpt ext2 normal configfile linux echo serial terminal probe test minicmd search reboot sleep
        cp "$root/usr/lib/grub/i386-pc/boot.img" "$parts/boot.img"
    fi
}

trim() {
    gone=$(sh "$HERE/disk/of-arch.sh" <"$HERE/disk/build-only.txt")
    # shellcheck disable=SC2086 # package names
    [ -z "$gone" ] || chroot "$root" dpkg --purge --force-depends $gone
    chroot "$root" apt-get -qq -y --purge autoremove
    mkdir -p "$root/boot/grub"
    cp "$HERE/disk/grub.cfg" "$root/boot/grub/grub.cfg"
    rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/lintian/* \
        "$root"/usr/share/locale/* "$root"/usr/share/i18n "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old \
        "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/ldconfig/aux-cache \
        "$root/usr/lib/udev/hwdb.bin" "$root/var/log/journal"
    find "$root/var/log" -type f -delete
}

# Compiled by content and not by time stamp: cloud-init would compile all of this on a blade's first boot,
# which takes longer than the boot itself, and the image sets every time stamp anew.
compile_python() {
    say "Python compiled ahead"
    find "$root/usr" -name __pycache__ -prune -exec rm -rf {} +
    rm -rf "$root"/usr/lib/python3.*/lib2to3 "$root"/usr/lib/python3.*/pydoc_data
    # The bytes do not depend on the machine: this one's Python of the same version is many times as fast
    # as an emulated one.
    version=$(basename "$(readlink "$root/usr/bin/python3")")
    in_root='' run="chroot $root"
    if [ "$ARCH" != "$(dpkg --print-architecture)" ] && [ -x "/usr/bin/$version" ]; then in_root=$root run=; fi
    # shellcheck disable=SC2086,SC2231 # words; a pattern
    for dir in $root/usr/lib/python3/dist-packages $root/usr/lib/python3.*; do
        PYTHONHASHSEED=0 $run "/usr/bin/$version" -m compileall -q --invalidation-mode unchecked-hash \
            ${in_root:+-s "$root" -p /} "$in_root${dir#"$root"}" >/dev/null || true
    done
}

cp -r "$HERE/disk/overlay/." "$root/"
settle_services
settle_generators
settle_cloud_init
settle_identity
export_parts
trim
compile_python
settle_boot
