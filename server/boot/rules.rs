//! Rules of an operator that choose another boot program than the firmware table does.

use super::{Asking, Firmware, PXE, Platform, Program, ROMS, loader};
use crate::inventory::{BladeDoc, BootRule, Document, SourceMap};

/// The loader that the blade itself, or the first rule that fits, names for `platform`; with the
/// rule for people. One that was made for another platform, or that is unsigned where Secure
/// Boot is on, is passed over: firmware would refuse it.
pub fn override_for<'a>(
    asking: &Asking<'a>,
    platform: Platform,
    firmware: Firmware,
) -> Option<(&'a str, String)> {
    let secure = asking.blade.and_then(|blade| blade.secure_boot) == Some(true);
    let usable = |name: &str| {
        let made = loader(name);
        made.platform == platform && (made.signed || !secure)
    };
    let own = asking.blade.and_then(|blade| Some((blade, blade.loader.as_deref()?)));
    if let Some((blade, name)) = own.filter(|(_, name)| usable(name)) {
        return Some((name, format!("blade {}: loader = {name:?}", blade.name)));
    }
    let rule =
        asking.rules.iter().find(|rule| usable(&rule.loader) && fits(rule, asking, firmware))?;
    Some((&rule.loader, format!("boot rule {}: loader = {:?}", rule.name, rule.loader)))
}

fn fits(rule: &BootRule, asking: &Asking<'_>, firmware: Firmware) -> bool {
    let model = asking.blade.and_then(|blade| blade.model.as_deref());
    let model_fits = rule.model.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
        Some(beginning) => model.is_some_and(|model| model.starts_with(beginning)),
        None => model == Some(wanted),
    });
    let mac = asking.mac.to_string();
    let mac_fits =
        rule.mac_prefix.as_ref().is_none_or(|prefix| mac.starts_with(&prefix.to_ascii_lowercase()));
    model_fits && mac_fits && rule.firmware.as_deref().is_none_or(|name| name == firmware.name())
}

/// What cannot work in loaders and boot rules, one line each. `here` tells whether a boot program
/// is on this server.
pub fn check(document: &Document, sources: &SourceMap, here: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    for blade in &document.blades {
        let Some(name) = &blade.loader else { continue };
        let at = sources.locate(blade.name.as_str(), name);
        let why = cannot_be(name, here).or_else(|| clashes(blade, name));
        problems.extend(why.map(|why| format!("{at}blade {}: loader {name:?} {why}", blade.name)));
    }
    for (index, rule) in document.boot_rules.iter().enumerate() {
        let at = sources.locate(&rule.name, &rule.loader);
        let before = &document.boot_rules[..index];
        let why = rule_cannot_work(rule, before).or_else(|| {
            cannot_be(&rule.loader, here).map(|why| format!("loader {:?} {why}", rule.loader))
        });
        problems.extend(why.map(|why| format!("{at}boot rule {}: {why}", rule.name)));
    }
    problems
}

/// Why no firmware could be given this program.
fn cannot_be(name: &str, here: &dyn Fn(&str) -> bool) -> Option<String> {
    // The `file` field of a DHCP answer has 128 octets with its end; ROMs read nothing else.
    if name.is_empty() || name.len() > 127 || name.contains(['/', ' ']) || !name.is_ascii() {
        return Some("is no file name of at most 127 characters without blanks or slashes".into());
    }
    (!here(name)).then(|| {
        "is not on this server; install its package (`firstlight check` names it), or: firstlight \
         image import FILE"
            .to_owned()
    })
}

fn clashes(blade: &BladeDoc, name: &str) -> Option<String> {
    let made = loader(name);
    if blade.secure_boot == Some(true) && !made.signed {
        return Some(
            "is not signed, and the blade's Secure Boot is on: its firmware would refuse it".into(),
        );
    }
    let arm = |platform| platform == Platform::Arm64;
    let is_arm = blade.arch.map(|arch| arch.as_str() == "arm64")?;
    (arm(made.platform) != is_arm).then(|| {
        format!(
            "is for {}, and the blade is {}",
            made.platform.name(),
            if is_arm { "arm64" } else { "amd64" }
        )
    })
}

fn rule_cannot_work(rule: &BootRule, before: &[BootRule]) -> Option<String> {
    if rule.model.is_none() && rule.mac_prefix.is_none() && rule.firmware.is_none() {
        return Some("names no model, mac_prefix or firmware, so it would fit every blade".into());
    }
    if let Some(prefix) = &rule.mac_prefix
        && !is_mac_prefix(prefix)
    {
        return Some(format!(
            "mac_prefix {prefix:?} is not the beginning of a MAC; write \"52:54:00\""
        ));
    }
    let made = loader(&rule.loader);
    if let Some(name) = &rule.firmware {
        let known = |row: &&super::Row| row.name == name;
        let Some(row) = ROMS.iter().find(known) else {
            let mut names: Vec<&str> = ROMS.iter().map(|row| row.name).collect();
            names.dedup();
            return Some(format!("there is no firmware {name:?}; there are {}", names.join(", ")));
        };
        if row.platform != made.platform {
            return Some(format!(
                "loader {:?} is for {}, not for {name}",
                rule.loader,
                made.platform.name()
            ));
        }
        if row.class != PXE && matches!(made.program, Program::Pxelinux { .. }) {
            return Some(format!("pxelinux cannot be loaded by {name}"));
        }
    }
    let same = |other: &&BootRule| {
        (&other.model, &other.mac_prefix, &other.firmware)
            == (&rule.model, &rule.mac_prefix, &rule.firmware)
            && loader(&other.loader).platform == made.platform
    };
    before.iter().find(same).map(|other| {
        format!("says when it fits just as rule {} does, which comes before it", other.name)
    })
}

/// One to six octets.
fn is_mac_prefix(text: &str) -> bool {
    let octets: Vec<&str> = text.split(':').collect();
    octets.len() <= 6
        && octets
            .iter()
            .all(|octet| octet.len() == 2 && octet.bytes().all(|b| b.is_ascii_hexdigit()))
}
