//! Texts of the iPXE scripts. They use only what iPXE of 2019 (Debian 12) has.
//!
//! iPXE has no quoting: a line is split at blanks, `${…}` is expanded, `||` and `&&` divide
//! commands, a word that begins with `#` starts a comment, a backslash at the end joins lines
//! (its core/exec.c, image/script.c). So values from outside are refused where they are
//! machine-read, and cleaned where people read them.

use std::time::Duration;

use super::order::{ASK_AGAIN, Files, ScriptError, identifier, people, word, words};

/// Loads kernel and initrd and boots them; on failure says so and asks for its script again at
/// `again`. `cmdline` is added to the kernel's command line as it stands.
pub fn install(title: &str, files: &Files<'_>, again: &str) -> Result<String, ScriptError> {
    let (title, seconds) = (people(title), ASK_AGAIN.as_secs());
    let base = word("base URL", files.base)?;
    let (kernel, initrd) = (word("kernel", files.kernel)?, word("initrd", files.initrd)?);
    let cmdline = words("kernel command line", files.cmdline)?;
    let again = word("script URL", again)?;
    // A UEFI kernel finds its initrd by the name on its command line; BIOS ignores it.
    Ok(format!(
        "#!ipxe\n\
         echo Firstlight: {title}\n\
         imgfree\n\
         kernel --name vmlinuz {base}{kernel} initrd=initrd.img {cmdline} || goto failed\n\
         initrd --name initrd.img {base}{initrd} || goto failed\n\
         boot || goto failed\n\
         :failed\n\
         echo Firstlight: could not boot, trying again in {seconds} s\n\
         sleep {seconds}\n\
         imgfree\n\
         chain --replace --autofree {again} || goto failed\n"
    ))
}

/// Boots the blade's own disk.
pub fn local(title: &str) -> String {
    // UEFI: `exit` ends in EDK2's set-up page, `exit 1` goes on with the next boot option;
    // sanboot of a local disk needs iPXE 1.21 there, 2019's fails at once and exits.
    format!(
        "#!ipxe\n\
         echo Firstlight: {}\n\
         iseq ${{platform}} efi && goto efi ||\n\
         sanboot --no-describe --drive 0x80 || exit 1\n\
         :efi\n\
         iseq ${{buildarch}} arm64 && goto arm64 ||\n\
         sanboot --no-describe --drive 0 --filename \\EFI\\BOOT\\BOOTX64.EFI || exit 1\n\
         :arm64\n\
         sanboot --no-describe --drive 0 --filename \\EFI\\BOOT\\BOOTAA64.EFI || exit 1\n",
        people(title)
    )
}

/// Prints why the blade waits, and asks for its script again after ten seconds.
pub fn hold(why: &str, again: &str) -> Result<String, ScriptError> {
    let (again, seconds) = (word("script URL", again)?, ASK_AGAIN.as_secs());
    Ok(format!(
        "#!ipxe\n\
         echo Firstlight: {}\n\
         :again\n\
         echo Asking again in {seconds} s\n\
         sleep {seconds}\n\
         chain --replace --autofree {again} || goto again\n",
        people(why)
    ))
}

/// The console menu. `entries` are (id, title); the choice comes back as
/// `GET {again}?choice={id}&arch={iPXE's own}`, whose answer is the script to go on with. The caller lists
/// `local-boot` among the entries. A `timeout` of zero waits for ever.
pub fn menu(
    title: &str,
    entries: &[(&str, &str)],
    default: &str,
    timeout: Duration,
    again: &str,
) -> Result<String, ScriptError> {
    let again = word("script URL", again)?;
    let default = identifier("default menu entry", default)?;
    let mut text = format!("#!ipxe\n:start\nmenu Firstlight: {}\n", people(title));
    for (id, title) in entries {
        let id = identifier("menu entry", id)?;
        text += &format!("item {id} {}\n", people(title));
    }
    let timeout = match timeout.as_millis() {
        0 => String::new(),
        millis => format!("--timeout {millis} "),
    };
    text += &format!(
        "choose --default {default} {timeout}choice || goto start\n\
         chain --replace --autofree {again}?choice=${{choice}}&arch=${{buildarch}} || goto failed\n\
         :failed\n\
         echo Firstlight: the server did not answer, back to the menu\n\
         sleep 3\n\
         goto start\n"
    );
    Ok(text)
}
