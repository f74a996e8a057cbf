//! The tables: which firmware loads what, and which boot programs we know. A new firmware is one
//! row here, one captured packet in `tests/fixtures`, one paragraph in `docs/firmware.md`.

/// The vendor class of PXE ROMs (PXE 2.1 §2.2.1).
pub const PXE: &str = "PXEClient";
/// The vendor class of UEFI HTTP boot (UEFI 2.10 §24.7.2).
pub const HTTP: &str = "HTTPClient";

/// What a boot program must be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    Bios,
    X64,
    Arm64,
}

impl Platform {
    pub fn name(self) -> &'static str {
        match self {
            Platform::Bios => "BIOS",
            Platform::X64 => "UEFI x64",
            Platform::Arm64 => "UEFI arm64",
        }
    }
}

/// What a boot program is, and so which documents it asks for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// Asks DHCP again as iPXE and gets a script.
    Ipxe,
    /// Reads `pxelinux.cfg/…`; with `http` it takes kernels by HTTP too.
    Pxelinux { http: bool },
    /// shim, which loads GRUB beside itself, or GRUB itself; reads `grub/grub.cfg`.
    Grub,
    /// An operator's own, of which we know no more.
    Own,
}

/// A network boot ROM: how it names itself, what it loads.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub name: &'static str,
    pub platform: Platform,
    /// How its vendor class (option 60) begins.
    pub class: &'static str,
    /// Option 93.
    pub arch: u16,
    /// What it loads where nobody says otherwise.
    pub loader: &'static str,
    /// What it loads where Secure Boot is known to be on.
    pub secure: Option<&'static str>,
}

const fn row(
    name: &'static str,
    platform: Platform,
    class: &'static str,
    arch: u16,
    loader: &'static str,
) -> Row {
    let secure = match platform {
        Platform::Bios => None,
        Platform::X64 => Some("shimx64.efi"),
        Platform::Arm64 => Some("shimaa64.efi"),
    };
    Row { name, platform, class, arch, loader, secure }
}

/// Architecture numbers: IANA "Processor Architecture Types" (RFC 4578 §2.1, RFC 5970 §3.3).
pub static ROMS: [Row; 7] = [
    row("BIOS", Platform::Bios, PXE, 0, "undionly.kpxe"),
    row("UEFI x64", Platform::X64, PXE, 7, "snponly.efi"),
    // RFC 4578 calls 9 x64 and 7 EBC; erratum 4625 swaps them. Firmware of both schools exists.
    row("UEFI x64", Platform::X64, PXE, 9, "snponly.efi"),
    row("UEFI arm64", Platform::Arm64, PXE, 11, "ipxe-arm64.efi"),
    row("UEFI x64 HTTP", Platform::X64, HTTP, 16, "snponly.efi"),
    // IANA: 15 is "x86 UEFI boot from HTTP". No blade has a 32-bit UEFI any more; the same muddle
    // as with 7 and 9 makes it more likely that an x64 firmware says it.
    row("UEFI x64 HTTP", Platform::X64, HTTP, 15, "snponly.efi"),
    row("UEFI arm64 HTTP", Platform::Arm64, HTTP, 19, "ipxe-arm64.efi"),
];

/// What is known of a boot program by its file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loader {
    pub platform: Platform,
    pub program: Program,
    /// Signed by a key that firmware with Secure Boot accepts.
    pub signed: bool,
}

/// Boot programs of `boot-assets/loaders.toml` that firmware is told to load.
static LOADERS: [(&str, Platform, Program, bool); 12] = [
    ("undionly.kpxe", Platform::Bios, Program::Ipxe, false),
    ("pxelinux.0", Platform::Bios, Program::Pxelinux { http: false }, false),
    ("lpxelinux.0", Platform::Bios, Program::Pxelinux { http: true }, false),
    ("snponly.efi", Platform::X64, Program::Ipxe, false),
    ("ipxe.efi", Platform::X64, Program::Ipxe, false),
    ("shimx64.efi", Platform::X64, Program::Grub, true),
    ("grubx64.efi", Platform::X64, Program::Grub, true),
    ("mmx64.efi", Platform::X64, Program::Own, true),
    ("ipxe-arm64.efi", Platform::Arm64, Program::Ipxe, false),
    ("shimaa64.efi", Platform::Arm64, Program::Grub, true),
    ("grubaa64.efi", Platform::Arm64, Program::Grub, true),
    ("mmaa64.efi", Platform::Arm64, Program::Own, true),
];

/// What a boot program's name says. An operator's own say it by convention, which `image import`
/// holds against the file: `.efi` is UEFI, `arm64` or `aa64` in the name is arm64, `signed` is
/// signed.
pub fn loader(name: &str) -> Loader {
    if let Some((_, platform, program, signed)) = LOADERS.iter().find(|known| known.0 == name) {
        return Loader { platform: *platform, program: *program, signed: *signed };
    }
    let lower = name.to_ascii_lowercase();
    let platform = match lower.strip_suffix(".efi") {
        None => Platform::Bios,
        Some(stem) if stem.contains("arm64") || stem.contains("aa64") => Platform::Arm64,
        Some(_) => Platform::X64,
    };
    Loader { platform, program: Program::Own, signed: lower.contains("signed") }
}
