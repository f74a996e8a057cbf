//! What a boot program is made for, read from its own octets, so that a name cannot promise what
//! the file does not hold.

use super::table::{Platform, loader};

/// Why a file cannot be the boot program that its name says.
///
/// # Errors
/// One line for people: what it is, what its name says, what to do.
pub fn fits_name(name: &str, bytes: &[u8]) -> Result<(), String> {
    let says = loader(name);
    if says.platform == Platform::Bios {
        // Modules and programs for BIOS have no common mark; a UEFI program has one.
        return match portable_executable(bytes) {
            Some(_) => Err(format!("{name} is a UEFI program; give it a name that ends in .efi")),
            None => Ok(()),
        };
    }
    let Some((machine, signed)) = portable_executable(bytes) else {
        return Err(format!("{name} is no UEFI program (PE32+): is it the right file, and whole?"));
    };
    let made_for = match machine {
        0x8664 => Platform::X64,
        0xaa64 => Platform::Arm64,
        other => {
            return Err(format!(
                "{name} is for machine type {other:#06x}; blades are x64 (0x8664) or arm64 (0xaa64)"
            ));
        }
    };
    if made_for != says.platform {
        let hint = match made_for {
            Platform::Arm64 => "a name with arm64 or aa64 in it",
            _ => "a name without arm64 or aa64 in it",
        };
        return Err(format!(
            "{name} is for {}, and its name says {}; give it {hint}",
            made_for.name(),
            says.platform.name()
        ));
    }
    match says.signed && !signed {
        true => Err(format!("{name} has no signature, and its name says that it is signed")),
        false => Ok(()),
    }
}

/// Machine type and whether a signature is attached, of a PE32+ image (Microsoft PE format, "COFF
/// File Header", "Optional Header Data Directories": the certificate table is the fifth).
fn portable_executable(bytes: &[u8]) -> Option<(u16, bool)> {
    let two = |at: usize| {
        bytes.get(at..at.checked_add(2)?).map(|octets| u16::from_le_bytes([octets[0], octets[1]]))
    };
    let four = |at: usize| {
        let octets = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes([octets[0], octets[1], octets[2], octets[3]]))
    };
    let header = usize::try_from(four(0x3c)?).ok()?;
    let optional = header.checked_add(24)?;
    let is_one = bytes.starts_with(b"MZ")
        && four(header)? == u32::from_le_bytes(*b"PE\0\0")
        && two(optional)? == 0x20b;
    let directories = four(optional.checked_add(108)?)?;
    let certificates = four(optional.checked_add(112 + 4 * 8 + 4)?).unwrap_or_default();
    is_one.then_some((two(header.checked_add(4)?)?, directories > 4 && certificates > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The headers of a PE32+ image.
    fn program(machine: u16, signed: bool) -> Vec<u8> {
        let mut bytes = vec![0; 0x200];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
        bytes[0x58..0x5a].copy_from_slice(&[0x0b, 0x02]);
        bytes[0x58 + 108] = 16;
        bytes[0x58 + 112 + 36] = u8::from(signed);
        bytes
    }

    #[test]
    fn a_name_must_say_what_the_file_is() {
        let (x64, arm) = (program(0x8664, false), program(0xaa64, false));
        for (name, bytes) in [
            ("own.efi", &x64),
            ("own-arm64.efi", &arm),
            ("own.0", &vec![1; 100]),
            ("own-signed.efi", &program(0x8664, true)),
        ] {
            assert_eq!(fits_name(name, bytes), Ok(()), "{name}");
        }
        for (name, bytes, why) in [
            ("own.efi", &arm, "is for UEFI arm64, and its name says UEFI x64"),
            ("own-aa64.efi", &x64, "is for UEFI x64, and its name says UEFI arm64"),
            ("own.0", &x64, "give it a name that ends in .efi"),
            ("own.efi", &vec![0; 100], "is no UEFI program"),
            ("own.efi", &program(0x14c, false), "machine type 0x014c"),
            ("own-signed.efi", &x64, "has no signature"),
            ("shimx64.efi", &x64, "has no signature"),
        ] {
            let told = fits_name(name, bytes).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_it_panic(bytes: Vec<u8>, at in 0_usize..0x200, value: u8) {
            let _ = fits_name("own.efi", &bytes);
            let mut broken = program(0x8664, true);
            broken[at] = value;
            let _ = fits_name("own.efi", &broken[..at]);
            let _ = fits_name("own.efi", &broken);
        }
    }
}
