//! The boot token: what a blade shows to be served as the blade it is.
//!
//! A token is the attempt's id and a keyed hash of it, so nothing secret is stored and a daemon
//! that was killed still knows every token it gave out. It is as good as the attempt: the caller
//! asks whether that attempt is the newest of the blade at the asking address.

use std::{io, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

use crate::blade::{AttemptId, Mac};

/// Octets of the hash that are kept: 192 bits.
const TAG: usize = 24;
/// What a token is good for is part of what is hashed.
const ATTEMPT: &[u8] = b"firstlight boot token 1";
const MACHINE: &[u8] = b"firstlight machine token 1";

/// The daemon's key for boot tokens; never printed.
#[derive(Clone)]
pub struct BootKey([u8; 32]);

impl BootKey {
    /// Reads the key, or makes one on first start: 32 random octets, mode 0600, on disk before
    /// it is used.
    pub fn open(data_dir: &Path) -> io::Result<BootKey> {
        use std::{fs, io::Write, os::unix::fs::OpenOptionsExt};
        let dir = data_dir.join("keys");
        fs::create_dir_all(&dir)?;
        let file = dir.join("boot.key");
        match fs::read(&file) {
            Ok(octets) => octets.try_into().map(BootKey).map_err(|_| {
                io::Error::other(format!("{} must hold 32 octets; restore it from a backup, or remove it to make a new one", file.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; 32];
                io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut key)?;
                let draft = dir.join("boot.key.new");
                let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
                out.write_all(&key)?;
                out.sync_all()?;
                fs::rename(&draft, &file)?;
                fs::File::open(&dir)?.sync_all()?;
                Ok(BootKey(key))
            }
            Err(error) => Err(error),
        }
    }

    fn tag(&self, purpose: &[u8], subject: &[u8]) -> Hmac<Sha256> {
        // HMAC takes keys of any length (RFC 2104 §2), so this cannot fail.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        mac.update(purpose);
        mac.update(subject);
        mac
    }

    fn sign(&self, purpose: &[u8], subject: &[u8]) -> String {
        let mut octets = subject.to_vec();
        octets.extend_from_slice(&self.tag(purpose, subject).finalize().into_bytes()[..TAG]);
        URL_SAFE_NO_PAD.encode(octets)
    }

    fn subject<const N: usize>(&self, purpose: &[u8], token: &str) -> Option<[u8; N]> {
        let octets = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (subject, tag) = octets.split_first_chunk::<N>()?;
        if tag.len() != TAG {
            return None;
        }
        self.tag(purpose, subject).verify_truncated_left(tag).ok()?;
        Some(*subject)
    }

    /// The token of an attempt: 54 characters that need no escape in a URL or a shell.
    pub fn token(&self, attempt: AttemptId) -> String {
        self.sign(ATTEMPT, attempt.0.as_bytes())
    }

    /// The attempt a token was made for; `None` if we did not make it. Compares in constant time.
    pub fn attempt(&self, token: &str) -> Option<AttemptId> {
        self.subject(ATTEMPT, token).map(|id| AttemptId(uuid::Uuid::from_bytes(id)))
    }

    /// The token with which a machine reports what it is: only for the MAC it booted from.
    pub fn machine_token(&self, mac: Mac) -> String {
        self.sign(MACHINE, &mac.0)
    }

    /// The MAC a machine's token was made for.
    pub fn machine(&self, token: &str) -> Option<Mac> {
        self.subject(MACHINE, token).map(Mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_after_a_restart_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let id = AttemptId(uuid::Uuid::now_v7());
        let token = BootKey::open(dir.path()).unwrap().token(id);
        let key = BootKey::open(dir.path()).unwrap();
        assert_eq!(key.attempt(&token), Some(id));
        let mut forged = token.clone().into_bytes();
        forged[30] ^= 1;
        for bad in ["", "x", &token[..40], &String::from_utf8_lossy(&forged), &token.repeat(2)] {
            assert_eq!(key.attempt(bad), None, "{bad:?}");
        }
        assert_eq!(BootKey([7; 32]).attempt(&token), None);
    }

    #[test]
    fn a_machines_token_is_good_for_its_mac_and_for_nothing_else() {
        let key = BootKey([7; 32]);
        let mac: Mac = "52:54:00:00:01:01".parse().unwrap();
        let token = key.machine_token(mac);
        assert_eq!(key.machine(&token), Some(mac));
        assert_eq!(key.attempt(&token), None);
        assert_eq!(key.machine(&key.token(AttemptId(uuid::Uuid::now_v7()))), None);
        assert_eq!(BootKey([8; 32]).machine(&token), None);
    }
}
