//! OpenSSH public key lines (sshd(8), AUTHORIZED_KEYS FILE FORMAT).

use base64::{Engine, engine::general_purpose::STANDARD};

const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Why a line may not go into `authorized_keys`. A private key is never repeated in the reason.
pub(super) fn fault(line: &str) -> Option<String> {
    if line.contains("PRIVATE KEY") {
        return Some("this is a private key; give the line of the .pub file".into());
    }
    if line.chars().any(char::is_control) {
        return Some("a key is one line; this has a line break or a control character".into());
    }
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
        return Some(format!("{:?} is no public key: write `ssh-ed25519 AAAA… name`", cut(line)));
    };
    if kind == "ssh-dss" {
        return Some("ssh-dss keys are refused by OpenSSH since 7.0; use ssh-ed25519".into());
    }
    if !KINDS.contains(&kind) {
        return Some(format!("{:?} is no kind of key; use one of {}", cut(kind), KINDS.join(" ")));
    }
    let Some(fields) = STANDARD.decode(blob).ok().and_then(|bytes| fields(&bytes)) else {
        return Some(format!("the key data of this {kind} key is damaged"));
    };
    let inner = String::from_utf8_lossy(&fields[0]).into_owned();
    if inner != kind {
        return Some(format!("the line says {kind}, its data says {:?}", cut(&inner)));
    }
    match (kind, fields.len()) {
        // RFC 4253 §6.6: string "ssh-rsa", mpint e, mpint n.
        ("ssh-rsa", 3) => {
            let bits = bits(&fields[2]);
            (bits < 2048).then(|| format!("this RSA key has {bits} bits; at least 2048 are needed"))
        }
        // RFC 8709 §4: string "ssh-ed25519", string key of 32 bytes.
        ("ssh-ed25519", 2) if fields[1].len() == 32 => None,
        ("ssh-rsa" | "ssh-ed25519", _) => {
            Some(format!("the key data of this {kind} key is damaged"))
        }
        (_, 3..) => None,
        _ => Some(format!("the key data of this {kind} key is damaged")),
    }
}

/// The length-prefixed strings of a key blob (RFC 4251 §5); at least one.
fn fields(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let field = rest.get(..length)?;
        fields.push(field.to_vec());
        bytes = &rest[length..];
    }
    (!fields.is_empty()).then_some(fields)
}

fn bits(mpint: &[u8]) -> usize {
    let significant: &[u8] = match mpint.iter().position(|byte| *byte != 0) {
        Some(start) => &mpint[start..],
        None => return 0,
    };
    significant.len() * 8 - significant[0].leading_zeros() as usize
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const GOOD: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ops@example";

    fn line(kind: &str, parts: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        for part in parts {
            blob.extend((part.len() as u32).to_be_bytes());
            blob.extend(*part);
        }
        format!("{kind} {} ops", STANDARD.encode(blob))
    }

    #[test]
    fn a_good_key_passes() {
        assert_eq!(fault(GOOD), None);
        let rsa = line("ssh-rsa", &[b"ssh-rsa", &[1, 0, 1], &[0x80; 256]]);
        assert_eq!(fault(&rsa), None);
    }

    #[test]
    fn keys_that_do_harm_or_nothing_are_refused_c22() {
        let cases = [
            ("-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(), "private key"),
            (line("ssh-dss", &[b"ssh-dss", &[1]]), "ssh-dss"),
            (line("ssh-ed25519", &[b"ssh-rsa", &[0; 32]]), "its data says"),
            (format!("{GOOD}\nssh-rsa AAAA"), "one line"),
            (line("ssh-rsa", &[b"ssh-rsa", &[1, 0, 1], &[0x80; 128]]), "1024 bits"),
            (line("ssh-ed25519", &[b"ssh-ed25519", &[0; 31]]), "damaged"),
            ("ssh-ed25519 AAAA".to_owned(), "damaged"),
            ("".to_owned(), "no public key"),
            ("ssh-ed25519".to_owned(), "no public key"),
            ("command=\"x\" ssh-ed25519 AAAA".to_owned(), "no kind of key"),
        ];
        for (key, reason) in cases {
            let said = fault(&key).unwrap_or_else(|| panic!("{key:?} passed"));
            assert!(said.contains(reason), "{key:?}: {said}");
        }
    }
}
