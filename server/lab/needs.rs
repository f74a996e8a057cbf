//! What a lab needs of the host, all of it named at once.
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::emit::FOREIGN_ROM;
use super::firmware::{Board, NicRom, Packaged};
use super::plan::Plan;

/// Where the emulator looks for the option ROMs of its NICs (Debian's `ipxe-qemu`).
const BIOS_ROM: &str = "/usr/lib/ipxe/qemu/pxe-virtio.rom";
const UEFI_ROM: &str = "/usr/lib/ipxe/qemu/efi-virtio.rom";
const SEABIOS: &str = "/usr/share/seabios/bios-256k.bin";

/// Refuses with every missing thing and the Debian package that has it.
pub fn check(plan: &Plan) -> anyhow::Result<()> {
    let root = nix::unistd::geteuid().is_root();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut missing = missing(plan, root, &|needed| {
        if needed.is_absolute() {
            needed.exists()
        } else {
            directories.iter().any(|directory| directory.join(needed).is_file())
        }
    });
    if missing.is_empty() {
        return Ok(());
    }
    missing.insert(0, format!("lab {} cannot be made:", plan.name));
    bail!(missing.join("\n  "))
}

/// `there` tells of an absolute path or of a program's name.
fn missing(plan: &Plan, root: bool, there: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let mut needed = vec![("ip", "iproute2")];
    for blade in &plan.blades {
        let board = blade.firmware.board;
        let flash = board.flash().map(|flash| [flash.code, flash.vars]);
        let parts = [board.emulator()].into_iter().chain(flash.into_iter().flatten());
        needed.extend(parts.map(|Packaged { name, package }| (name, package)));
        match (board, &blade.nic_rom) {
            (Board::Bios, NicRom::Shipped) => {
                needed.extend([(SEABIOS, "seabios"), (BIOS_ROM, "ipxe-qemu")]);
            }
            (Board::Bios, NicRom::Foreign) => {
                needed.extend([(SEABIOS, "seabios"), (FOREIGN_ROM, "ipxe")]);
            }
            (Board::Bios, _) => needed.push((SEABIOS, "seabios")),
            (_, NicRom::Shipped) => needed.push((UEFI_ROM, "ipxe-qemu")),
            _ => {}
        }
    }
    let mut named = std::collections::HashSet::new();
    needed.retain(|(what, _)| named.insert(*what));
    let mut missing = Vec::new();
    if !root {
        missing.push("it needs root, for the network namespace and the blades' NICs".to_owned());
    }
    if !there(Path::new("/dev/net/tun")) {
        missing
            .push("/dev/net/tun is missing: `modprobe tun`, or run the container with it".into());
    }
    for (what, package) in needed {
        if !there(Path::new(what)) {
            missing.push(format!("{what} is missing: apt-get install {package}"));
        }
    }
    for blade in &plan.blades {
        if let NicRom::File(rom) = &blade.nic_rom
            && !there(rom)
        {
            missing.push(format!("{}: NIC ROM {} is missing", blade.name, rom.display()));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::wish;
    use super::super::plan::{Plan, Wish};
    use super::*;

    #[test]
    fn everything_missing_is_named_at_once_with_its_package() {
        let rom = vec![("r1-c1-b02".to_owned(), NicRom::File("/roms/own.rom".into()))];
        let plan = Plan::new(&Wish { nic_rom: rom, ..wish() }).unwrap();
        insta::assert_snapshot!(missing(&plan, false, &|_| false).join("\n"));
        assert_eq!(missing(&plan, true, &|_| true), Vec::<String>::new());
    }

    #[test]
    fn a_rack_of_bios_blades_needs_no_uefi_firmware() {
        let plan = Plan::new(&Wish { uefi: 0, ..wish() }).unwrap();
        assert!(!missing(&plan, true, &|_| false).join("\n").contains("ovmf"));
    }
}
