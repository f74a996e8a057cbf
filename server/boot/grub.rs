//! What GRUB reads: the signed GRUB of Debian asks for one `grub/grub.cfg` whoever it runs on, on
//! the server it came from, by TFTP or (2.12) by HTTP. Paths are the same by both.
//!
//! GRUB's script language has single quotes that nothing is expanded in (GRUB manual §6.2), so
//! every word from outside stands in them.

use std::time::Duration;

use super::order::{ASK_AGAIN, Files, ScriptError, identifier, people, word, words};

/// Each `configfile` nests in the one before; after so many (ten minutes) the blade is restarted
/// and asks from the beginning.
const ROUNDS: u8 = 60;

/// Loads kernel and initrd from the device GRUB came from and boots them.
pub fn install(title: &str, files: &Files<'_>, round: u8) -> Result<String, ScriptError> {
    let cmdline = words("kernel command line", files.cmdline)?;
    let quoted: Vec<String> = cmdline.split(' ').map(|word| format!("'{word}'")).collect();
    Ok(format!(
        "set timeout=0\n\
         echo 'Firstlight: {}'\n\
         if linux '{}' {}; then\n\
         if initrd '{}'; then\n\
         boot\n\
         fi\n\
         fi\n\
         echo 'Firstlight: could not boot'\n\
         {}",
        people(title),
        word("kernel", files.kernel)?,
        quoted.join(" "),
        word("initrd", files.initrd)?,
        again(round)
    ))
}

/// Boots the loader of the blade's own disk; firmware's next boot device where there is none.
pub fn local(title: &str) -> String {
    format!(
        "set timeout=0\n\
         echo 'Firstlight: {}'\n\
         if [ \"$grub_cpu\" = arm64 ]; then set loader=/EFI/BOOT/BOOTAA64.EFI\n\
         else set loader=/EFI/BOOT/BOOTX64.EFI; fi\n\
         if search --no-floppy --file --set=root $loader; then\n\
         if chainloader $loader; then boot; fi\n\
         fi\n\
         exit\n",
        people(title)
    )
}

pub fn hold(why: &str, round: u8) -> String {
    format!("set timeout=0\necho 'Firstlight: {}'\n{}", people(why), again(round))
}

pub fn menu(
    title: &str,
    entries: &[(&str, &str)],
    default: &str,
    timeout: Duration,
) -> Result<String, ScriptError> {
    let seconds = match timeout.as_secs() {
        0 => "-1".to_owned(),
        seconds => seconds.to_string(),
    };
    let mut text = format!(
        "echo 'Firstlight: {}'\nset default='{}'\nset timeout={seconds}\n",
        people(title),
        identifier("default menu entry", default)?
    );
    for (id, title) in entries {
        let id = identifier("menu entry", id)?;
        text += &format!(
            "menuentry '{}' --id '{id}' {{\nconfigfile /grub/choice/{id}.cfg\n}}\n",
            people(title)
        );
    }
    Ok(text)
}

fn again(round: u8) -> String {
    let seconds = ASK_AGAIN.as_secs();
    let next = match round {
        ROUNDS.. => "reboot".to_owned(),
        round => format!("configfile /grub/again/{}.cfg", round + 1),
    };
    format!("echo 'Asking again in {seconds} s'\nsleep {seconds}\n{next}\n")
}
