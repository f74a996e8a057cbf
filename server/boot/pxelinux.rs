//! What pxelinux reads (wiki.syslinux.org: "PXELINUX", "SYSLINUX#Configuration"): one directive a
//! line, no quoting at all. Names are relative to where pxelinux itself came from.

use std::time::Duration;

use super::order::{ASK_AGAIN, Files, ScriptError, identifier, people, word, words};

/// A pxelinux on one blade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// The configuration it asks for again.
    pub config: String,
    /// lpxelinux: takes kernels by HTTP, ten times as fast.
    pub http: bool,
    /// Which menu: `menu.c32` (text, also on a serial line) or `vesamenu.c32`.
    pub menu: String,
}

/// Text on the first serial line too; without one it is ignored.
const SERIAL: &str = "SERIAL 0 115200\n";

impl Reader {
    pub fn install(&self, title: &str, files: &Files<'_>) -> Result<String, ScriptError> {
        let place = |what, path| {
            let path = word(what, path)?;
            Ok(match self.http {
                true => format!("{}{path}", word("base URL", files.base)?),
                false => path.trim_start_matches('/').to_owned(),
            })
        };
        // A kernel that cannot be had: the menu of one entry that asks again.
        Ok(format!(
            "{SERIAL}SAY Firstlight: {}\n\
             DEFAULT firstlight\n\
             PROMPT 0\n\
             ONERROR again\n\
             LABEL firstlight\n  LINUX {}\n  INITRD {}\n  APPEND {}\n\
             LABEL again\n  CONFIG {}\n",
            people(title),
            place("kernel", files.kernel)?,
            place("initrd", files.initrd)?,
            words("kernel command line", files.cmdline)?,
            self.config
        ))
    }

    pub fn local(&self, title: &str) -> String {
        format!(
            "{SERIAL}SAY Firstlight: {}\nDEFAULT local\nPROMPT 0\nLABEL local\n  LOCALBOOT 0\n",
            people(title)
        )
    }

    pub fn hold(&self, why: &str) -> String {
        let tenths = ASK_AGAIN.as_secs() * 10;
        format!(
            "{SERIAL}UI menu.c32\nMENU TITLE Firstlight: {}\nTIMEOUT {tenths}\nONTIMEOUT again\n\
             LABEL again\n  MENU LABEL Ask again\n  CONFIG {}\n",
            people(why),
            self.config
        )
    }

    pub fn menu(
        &self,
        title: &str,
        entries: &[(&str, &str)],
        default: &str,
        timeout: Duration,
    ) -> Result<String, ScriptError> {
        let default = identifier("default menu entry", default)?;
        let mut text =
            format!("{SERIAL}UI {}\nMENU TITLE Firstlight: {}\n", self.menu, people(title));
        // Tenths of a second; none waits for ever.
        if !timeout.is_zero() {
            text += &format!("TIMEOUT {}\nONTIMEOUT {default}\n", timeout.as_millis() / 100);
        }
        for (id, title) in entries {
            let id = identifier("menu entry", id)?;
            let mark = if id == default { "  MENU DEFAULT\n" } else { "" };
            text += &format!(
                "LABEL {id}\n  MENU LABEL {}\n{mark}  CONFIG pxelinux.cfg/choice/{id}\n",
                people(title)
            );
        }
        Ok(text)
    }
}
