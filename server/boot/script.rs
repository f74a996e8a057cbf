//! Texts of the iPXE scripts. They use only what iPXE of 2019 (Debian 12) has.
//!
//! iPXE has no quoting: a line is split at blanks, `${…}` is expanded, `||` and `&&` divide
//! commands, a word that begins with `#` starts a comment, a backslash at the end joins lines
//! (its core/exec.c, image/script.c). So values from outside are refused where they are
//! machine-read, and cleaned where people read them.

use std::time::Duration;

/// A value that cannot stand in an iPXE script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} cannot stand in an iPXE script: {why}")]
pub struct ScriptError {
    pub what: &'static str,
    pub value: String,
    pub why: &'static str,
}

/// How long a blade that waits sleeps before it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Loads kernel and initrd and boots them; on failure says so and asks for its script again at
/// `again`. `cmdline` is added to the kernel's command line as it stands.
pub fn install(
    title: &str,
    kernel: &str,
    initrd: &str,
    cmdline: &str,
    again: &str,
) -> Result<String, ScriptError> {
    let (title, seconds) = (people(title), ASK_AGAIN.as_secs());
    let (kernel, initrd) = (word("kernel URL", kernel)?, word("initrd URL", initrd)?);
    let (cmdline, again) = (words("kernel command line", cmdline)?, word("script URL", again)?);
    // A UEFI kernel finds its initrd by the name on its command line; BIOS ignores it.
    Ok(format!(
        "#!ipxe\n\
         echo Firstlight: {title}\n\
         imgfree\n\
         kernel --name vmlinuz {kernel} initrd=initrd.img {cmdline} || goto failed\n\
         initrd --name initrd.img {initrd} || goto failed\n\
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
         sanboot --no-describe --drive 0 --filename \\EFI\\BOOT\\BOOTX64.EFI || exit 1\n",
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
/// `GET {again}?choice={id}`, whose answer is the script to go on with. The caller lists
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
         chain --replace --autofree {again}?choice=${{choice}} || goto failed\n\
         :failed\n\
         echo Firstlight: the server did not answer, back to the menu\n\
         sleep 3\n\
         goto start\n"
    );
    Ok(text)
}

fn refuse(what: &'static str, value: &str, why: &'static str) -> ScriptError {
    ScriptError { what, value: value.chars().take(200).collect(), why }
}

/// One word as it stands.
fn word<'a>(what: &'static str, value: &'a str) -> Result<&'a str, ScriptError> {
    let bad = |why| Err(refuse(what, value, why));
    match value {
        "" => bad("it is empty"),
        _ if !value.bytes().all(|b| b.is_ascii_graphic()) => {
            bad("it holds a blank, a line break or a character that is not ASCII")
        }
        _ if value.contains("${") => bad("iPXE would expand ${"),
        _ if value.starts_with('#') => bad("a word beginning with # starts a comment"),
        _ if value.ends_with('\\') => bad("a backslash at its end would join the next line"),
        "||" | "&&" => bad("it divides commands"),
        _ => Ok(value),
    }
}

/// Words as they stand, one blank between them; may be empty.
fn words(what: &'static str, value: &str) -> Result<String, ScriptError> {
    if value.contains(|c: char| c.is_control()) {
        return Err(refuse(what, value, "it holds a control character"));
    }
    let checked: Result<Vec<&str>, _> =
        value.split(' ').filter(|part| !part.is_empty()).map(|part| word(what, part)).collect();
    Ok(checked?.join(" "))
}

fn identifier<'a>(what: &'static str, value: &'a str) -> Result<&'a str, ScriptError> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if value.is_empty() || value.starts_with('-') || !value.bytes().all(legal) {
        return Err(refuse(what, value, "an id is a-z, 0-9 and hyphens, no hyphen first"));
    }
    Ok(value)
}

/// Text for people: harmless, one line, at most 200 characters.
fn people(text: &str) -> String {
    let clean: String = text
        .chars()
        .take(200)
        .map(|c| match c {
            '$' | '|' | '&' | '#' | '\\' | '`' => '.',
            c if c == ' ' || c.is_ascii_graphic() => c,
            c if c.is_whitespace() || c.is_control() => ' ',
            _ => '?',
        })
        .collect();
    // A first word such as --delay would be read as an option of echo, item or menu.
    clean.trim_start_matches(['-', ' ']).trim_end().to_owned()
}
