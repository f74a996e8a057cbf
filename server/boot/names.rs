//! Names that boot programs ask for by TFTP and HTTP and that are no files.

use std::net::Ipv4Addr;

use crate::blade::Mac;

/// What a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// GRUB's configuration; how many times it has asked in this boot.
    Grub(u8),
    /// A choice in GRUB's menu.
    GrubChoice(&'a str),
    /// pxelinux's configuration, and whose it is as far as the name says.
    Pxelinux(Whose),
    PxelinuxChoice(&'a str),
    /// A file of a boot image by its SHA-256.
    Image(&'a str),
    /// Perhaps a boot program.
    Other(&'a str),
}

/// How pxelinux names a machine: by SMBIOS UUID, by hardware type and MAC, by address in
/// hexadecimal digits, shortened digit by digit, then `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Mac(Mac),
    Ip(Ipv4Addr),
    /// The UUID, part of an address, or `default`: who asks must tell.
    Any,
}

/// Reads a name; slashes before it and doubled ones mean nothing (shim doubles them).
pub fn name(asked: &str) -> Name<'_> {
    let asked = asked.trim_start_matches('/');
    if let Some(sha256) = asked.strip_prefix("images/sha256/") {
        return Name::Image(sha256);
    }
    if let Some(config) = asked.strip_prefix("pxelinux.cfg/") {
        return match config.strip_prefix("choice/") {
            Some(id) => Name::PxelinuxChoice(id),
            None => Name::Pxelinux(whose(config)),
        };
    }
    let Some(grub) = asked.strip_prefix("grub/") else { return Name::Other(asked) };
    let stem = |folder| grub.strip_prefix(folder).and_then(|rest: &str| rest.strip_suffix(".cfg"));
    match (grub, stem("choice/"), stem("again/").and_then(|round| round.parse().ok())) {
        ("grub.cfg", ..) => Name::Grub(0),
        (_, Some(id), _) => Name::GrubChoice(id),
        (_, _, Some(round)) => Name::Grub(round),
        // `x86_64-efi/command.lst` and such: GRUB does without.
        _ => Name::Other(asked),
    }
}

fn whose(config: &str) -> Whose {
    // 01 is Ethernet (RFC 1700, hardware types).
    if let Some(mac) = config.strip_prefix("01-").and_then(|mac| mac.parse().ok()) {
        return Whose::Mac(mac);
    }
    match u32::from_str_radix(config, 16) {
        Ok(ip) if config.len() == 8 => Whose::Ip(ip.into()),
        _ => Whose::Any,
    }
}
