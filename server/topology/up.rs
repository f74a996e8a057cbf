//! How an installed system reports that it is up.

use std::fmt;

use super::{
    Command, File, Unit,
    stages::{quote, sh_header},
};
use crate::blade::AttemptId;

/// What ties a document to one attempt. Holds a secret: the boot token.
#[derive(Clone, PartialEq, Eq)]
pub struct Boot {
    /// Of the boot listener, without a slash at the end: `http://10.12.0.1`.
    pub url: String,
    pub attempt: AttemptId,
    /// Counts the attempts of a blade from 1.
    pub number: i64,
    /// The boot token in clear: letters, digits, `-` and `_`.
    pub token: String,
    /// The menu entry in the addresses `/config/{menu}/…`.
    pub menu: String,
}

impl Boot {
    /// Stands in where a document is shown to people: same shape, no secret, no live address.
    pub fn redacted() -> Boot {
        Boot {
            url: "http://firstlight.invalid".into(),
            attempt: AttemptId(uuid::Uuid::nil()),
            number: 0,
            token: "REDACTED".into(),
            menu: "REDACTED".into(),
        }
    }

    pub(super) fn or_redacted(boot: Option<&Boot>) -> Boot {
        boot.cloned().unwrap_or_else(Boot::redacted)
    }

    /// `{url}/api/v1/attempts/{id}/{tail}`
    pub(super) fn attempt_url(&self, tail: &str) -> String {
        format!("{}/api/v1/attempts/{}/{tail}", self.url, self.attempt)
    }
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Boot { url, attempt, number, menu, .. } = self;
        write!(f, "Boot {{ {url}, attempt {number} {attempt}, {menu}, token hidden }}")
    }
}

pub(super) const UP_SH: &str = include_str!("up.sh");

const UP_SERVICE: &str = "\
[Unit]
Description=Tell the provisioning server that this system is up
After=network.target ssh.service sshd.service
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/etc/firstlight/up.sh
Restart=on-failure
RestartSec=3

[Install]
WantedBy=multi-user.target
";

/// The reporter's files. The token's file is for root alone.
pub(super) fn files(boot: &Boot) -> [File; 2] {
    let variables = [
        ("FL_URL", boot.url.clone()),
        ("FL_ATTEMPT", boot.attempt.to_string()),
        ("FL_TOKEN", boot.token.clone()),
    ];
    let file = |path: &str, mode, content| File { path: path.into(), mode, content };
    [
        file("/etc/firstlight/boot.env", 0o600, sh_header(&variables)),
        file("/etc/firstlight/up.sh", 0o755, UP_SH.into()),
    ]
}

pub(super) fn unit() -> Unit {
    Unit {
        name: "firstlight-up.service".into(),
        enabled: true,
        command: Some(Command::Start),
        content: Some(UP_SERVICE.into()),
        dropins: Vec::new(),
    }
}

/// A systemctl call for each unit, none of which can stop the others or the boot.
pub(super) fn units_sh<'a>(units: impl Iterator<Item = &'a Unit> + Clone) -> String {
    let mut text = UNITS_SH_HEAD.to_owned();
    for (unit, command) in units.clone().filter_map(|unit| Some((unit, unit.command?))) {
        text += &format!("systemctl --no-block {command} {}\n", quote(&unit.name));
    }
    for unit in units.filter(|unit| unit.enabled) {
        text += &format!("systemctl --no-reload enable {}\n", quote(&unit.name));
    }
    text + "mkdir -p /run/firstlight && : >/run/firstlight/units-done\n"
}

/// Debian's etcd has a SysV script too; keeping that in step costs seconds of Perl and nothing
/// reads it.
const UNITS_SH_HEAD: &str = "\
#!/bin/sh
# Puts units written by cloud-init to work, without waiting for them; once per boot.
if [ -e /run/firstlight/units-done ]; then exit 0; fi
export SYSTEMCTL_SKIP_SYSV=1
systemctl daemon-reload
";
