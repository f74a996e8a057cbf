//! TFTP packets as octets (RFC 1350, 2347, 2348, 2349, 7440): what a client
//! may send to a read-only server, and what the server sends back. Pure, and
//! every octet is taken for hostile.
use bytes::{BufMut, Bytes, BytesMut};

/// The longest request looked at. RFC 2347 §2 allows 512 octets; EDK2 and
/// pxelinux stay far below.
pub const LONGEST_REQUEST: usize = 1024;

/// RFC 2348: the block sizes a client may ask for.
pub const BLKSIZE: std::ops::RangeInclusive<u16> = 8..=65464;

/// RFC 1350 §2: the block size without options.
pub const PLAIN_BLKSIZE: u16 = 512;

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// RFC 1350 appendix and RFC 2347: the error codes this server sends or reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    Undefined = 0,
    NotFound = 1,
    AccessViolation = 2,
    IllegalOperation = 4,
    UnknownTid = 5,
    OptionsDeclined = 8,
}

/// A packet from a client, as far as a read-only server cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    Read(ReadRequest),
    Ack(u16),
    /// The client ends the transfer. `text` is cut and cleaned for logs.
    Error {
        code: u16,
        text: String,
    },
    /// DATA or OACK: meant for a client, never for a server.
    Stray,
}

/// Why a packet does not become an [`Inbound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing a client could make use of an answer to.
    #[error("not a TFTP packet: {0}")]
    Garbage(&'static str),
    /// A request that is understood and refused with an ERROR packet.
    #[error("request refused: {text}")]
    Refused { code: Code, text: &'static str },
}

/// RFC 1350 §1: how the file's octets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Octet,
    Netascii,
}

/// A read request whose strings are whole and whose name cannot leave a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// UTF-8, no leading slash, no `..`, no backslash, no control character.
    pub name: String,
    pub mode: Mode,
    pub asked: Asked,
}

/// The options a client asked for with a value its RFC allows; everything
/// else counts as not asked (RFC 2347 §2: unknown options are left out).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub blksize: Option<u16>,
    pub tsize: bool,
    /// Seconds, 1 to 255 (RFC 2349).
    pub timeout: Option<u8>,
    pub windowsize: Option<u16>,
}

/// The options of an OACK; `None` is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    pub blksize: Option<u16>,
    pub tsize: Option<u64>,
    pub timeout: Option<u8>,
    pub windowsize: Option<u16>,
}

/// Reads one packet.
///
/// # Errors
/// [`Fault::Refused`] when the client deserves an ERROR packet,
/// [`Fault::Garbage`] when silence is the answer.
pub fn parse(packet: &[u8]) -> Result<Inbound, Fault> {
    let (opcode, rest) = split_u16(packet).ok_or(Fault::Garbage("shorter than an opcode"))?;
    match opcode {
        RRQ => read_request(rest).map(Inbound::Read),
        WRQ => {
            Err(Fault::Refused { code: Code::AccessViolation, text: "this server is read-only" })
        }
        ACK => split_u16(rest)
            .map(|(block, _)| Inbound::Ack(block))
            .ok_or(Fault::Garbage("ACK without a block number")),
        ERROR => {
            let (code, text) = split_u16(rest).ok_or(Fault::Garbage("ERROR without a code"))?;
            Ok(Inbound::Error { code, text: printable(text) })
        }
        DATA | OACK => Ok(Inbound::Stray),
        _ => Err(Fault::Garbage("unknown opcode")),
    }
}

/// The four octets in front of a block's payload.
pub fn data_head(block: u16) -> [u8; 4] {
    let [a, b] = DATA.to_be_bytes();
    let [c, d] = block.to_be_bytes();
    [a, b, c, d]
}

/// An ERROR packet.
pub fn error(code: Code, text: &str) -> Bytes {
    let mut packet = BytesMut::with_capacity(5 + text.len());
    packet.put_u16(ERROR);
    packet.put_u16(code as u16);
    packet.put_slice(text.as_bytes());
    packet.put_u8(0);
    packet.freeze()
}

/// An OACK packet (RFC 2347 §4).
pub fn oack(options: &Acknowledged) -> Bytes {
    let mut packet = BytesMut::with_capacity(64);
    packet.put_u16(OACK);
    let values = [
        ("blksize", options.blksize.map(u64::from)),
        ("tsize", options.tsize),
        ("timeout", options.timeout.map(u64::from)),
        ("windowsize", options.windowsize.map(u64::from)),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            packet.put_slice(name.as_bytes());
            packet.put_u8(0);
            packet.put_slice(value.to_string().as_bytes());
            packet.put_u8(0);
        }
    }
    packet.freeze()
}

fn read_request(octets: &[u8]) -> Result<ReadRequest, Fault> {
    let mut strings = Strings(octets);
    let name = strings.next().ok_or(Fault::Garbage("file name without its NUL"))?;
    let mode = strings.next().ok_or(Fault::Garbage("mode without its NUL"))?;
    let mode = if mode.eq_ignore_ascii_case(b"octet") {
        Mode::Octet
    } else if mode.eq_ignore_ascii_case(b"netascii") {
        Mode::Netascii
    } else {
        // RFC 1123 §4.2.2.1 wants no "mail"; everything else was never defined.
        return Err(Fault::Refused { code: Code::IllegalOperation, text: "unknown transfer mode" });
    };
    Ok(ReadRequest { name: file_name(name)?, mode, asked: options(strings) })
}

fn file_name(raw: &[u8]) -> Result<String, Fault> {
    // Some ROMs read a boot file option that has no NUL one octet too far and
    // take DHCP's END (255) for the name's last letter.
    let mut name = raw;
    while let [head @ .., 0xff] = name {
        name = head;
    }
    let refused = |text| Fault::Refused { code: Code::AccessViolation, text };
    let name = std::str::from_utf8(name).map_err(|_| refused("file name is not UTF-8"))?;
    let name = name.trim_start_matches('/');
    if name.is_empty() {
        return Err(Fault::Refused { code: Code::NotFound, text: "file name is empty" });
    }
    if name.contains(|c: char| c == '\\' || c.is_control()) {
        return Err(refused("file name holds a backslash or a control character"));
    }
    if name.split('/').any(|part| part == "..") {
        return Err(refused("file name leaves the served tree"));
    }
    Ok(name.to_owned())
}

fn options(mut strings: Strings<'_>) -> Asked {
    let mut asked = Asked::default();
    while let (Some(name), Some(value)) = (strings.next(), strings.next()) {
        let Some(value) = decimal(value) else { continue };
        // RFC 2347 §2: an option appears once; of two, the first counts.
        if name.eq_ignore_ascii_case(b"blksize") {
            let value = u16::try_from(value).ok().filter(|v| BLKSIZE.contains(v));
            asked.blksize = asked.blksize.or(value);
        } else if name.eq_ignore_ascii_case(b"tsize") {
            asked.tsize = true;
        } else if name.eq_ignore_ascii_case(b"timeout") {
            let value = u8::try_from(value).ok().filter(|v| *v > 0);
            asked.timeout = asked.timeout.or(value);
        } else if name.eq_ignore_ascii_case(b"windowsize") {
            let value = u16::try_from(value).ok().filter(|v| *v > 0);
            asked.windowsize = asked.windowsize.or(value);
        }
    }
    asked
}

/// RFC 2347 §2: values are decimal digits in ASCII, no sign, no space.
fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

fn split_u16(octets: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = octets.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*head), rest))
}

/// An ERROR's text as a log may carry it: no control characters, 80 at most.
fn printable(text: &[u8]) -> String {
    let text = text.split(|octet| *octet == 0).next().unwrap_or_default();
    let clean = |c: char| if c.is_control() { '?' } else { c };
    String::from_utf8_lossy(text).chars().take(80).map(clean).collect()
}

/// NUL-terminated strings; what lacks its NUL is no string.
struct Strings<'a>(&'a [u8]);

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|octet| *octet == 0)?;
        let (string, rest) = (self.0.get(..end)?, self.0.get(end + 1..)?);
        self.0 = rest;
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(options: &[u8]) -> Asked {
        let packet = [b"\x00\x01boot\0octet\0", options].concat();
        match parse(&packet) {
            Ok(Inbound::Read(request)) => request.asked,
            other => panic!("{other:?}"),
        }
    }

    fn name(raw: &[u8]) -> Result<String, Fault> {
        match parse(&[b"\x00\x01", raw, b"\0octet\0"].concat())? {
            Inbound::Read(request) => Ok(request.name),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_are_case_insensitive_and_unknown_ones_left_out_rfc2347() {
        let got =
            asked(b"BLKSIZE\x001468\0TSize\x000\0x-foo\0bar\0WindowSize\x0016\0timeOUT\x003\0");
        let want =
            Asked { blksize: Some(1468), tsize: true, timeout: Some(3), windowsize: Some(16) };
        assert_eq!(got, want);
    }

    #[test]
    fn values_outside_their_rfc_count_as_not_asked() {
        for options in [
            &b"blksize\x000\0"[..],
            b"blksize\x007\0",
            b"blksize\x0065465\0",
            b"blksize\x00+512\0",
            b"timeout\x000\0",
            b"timeout\x00256\0",
            b"windowsize\x000\0",
            b"windowsize\x0065536\0",
            b"windowsize\0abc\0",
            b"tsize\0\0",
            b"blksize\x0099999999999999999999\0",
            b"blksize\x001468",
            b"blksize\0",
        ] {
            assert_eq!(asked(options), Asked::default(), "{options:?}");
        }
    }

    #[test]
    fn the_first_of_two_equal_options_counts() {
        assert_eq!(asked(b"blksize\x00512\0blksize\x001024\0").blksize, Some(512));
    }

    #[test]
    fn names_keep_their_folders_and_lose_leading_slashes() {
        assert_eq!(name(b"//grub/x64.efi").as_deref(), Ok("grub/x64.efi"));
        assert_eq!(name(b"undionly.kpxe\xff").as_deref(), Ok("undionly.kpxe"));
    }

    #[test]
    fn names_that_leave_the_tree_are_refused() {
        for raw in [&b"../etc/passwd"[..], b"a/../b", b"..", b"a\\b", b"a\nb", b"\xc3\x28", b"a/.."]
        {
            let refused = name(raw);
            let code = Code::AccessViolation;
            assert!(matches!(refused, Err(Fault::Refused { code: c, .. }) if c == code), "{raw:?}");
        }
    }

    #[test]
    fn modes_other_than_octet_and_netascii_are_refused_rfc1123_4_2_2_1() {
        for packet in [&b"\x00\x01f\0mail\0"[..], b"\x00\x01f\0binary\0", b"\x00\x01f\0\0"] {
            let code = Code::IllegalOperation;
            assert!(matches!(parse(packet), Err(Fault::Refused { code: c, .. }) if c == code));
        }
    }

    #[test]
    fn packets_are_laid_out_as_in_rfc1350_and_rfc2347() {
        assert_eq!(&error(Code::NotFound, "no")[..], b"\x00\x05\x00\x01no\0");
        assert_eq!(data_head(258), [0, 3, 1, 2]);
        let options = Acknowledged { tsize: Some(7), windowsize: Some(4), ..Default::default() };
        assert_eq!(&oack(&options)[..], b"\x00\x06tsize\x007\0windowsize\x004\0");
    }

    proptest! {
        #[test]
        fn no_packet_panics(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&packet);
        }

        #[test]
        fn no_request_yields_a_name_that_leaves_the_tree(raw in "[./a\\\\\u{0}-\u{20}é]{0,24}") {
            if let Ok(name) = name(raw.split('\0').next().unwrap_or_default().as_bytes()) {
                prop_assert!(!name.starts_with('/') && !name.contains('\\'));
                prop_assert!(name.split('/').all(|part| part != ".."));
            }
        }
    }
}
