//! A file as a row of blocks, made one after the other and never twice: the
//! transfer keeps those that are in flight. Pure.
use bytes::{BufMut, Bytes, BytesMut};

use super::wire::Mode;

/// What is left of a file to be cut into blocks.
#[derive(Debug)]
pub struct Source {
    content: Bytes,
    mode: Mode,
    /// Second octet of a netascii pair that fell into the next block.
    carried: Option<u8>,
    ended: bool,
}

impl Source {
    pub fn new(content: Bytes, mode: Mode) -> Self {
        Self { content, mode, carried: None, ended: false }
    }

    /// The next block, `size` octets or, as the last one, fewer (RFC 1350 §6:
    /// possibly none). `None` after the last.
    pub fn next_block(&mut self, size: usize) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let block = match self.mode {
            Mode::Octet => self.content.split_to(size.min(self.content.len())),
            Mode::Netascii => self.netascii(size),
        };
        self.ended = block.len() < size;
        Some(block)
    }

    /// RFC 764 by way of RFC 1350 §1: LF travels as CR LF, CR as CR NUL.
    fn netascii(&mut self, size: usize) -> Bytes {
        let mut block = BytesMut::with_capacity(size);
        let mut taken = 0;
        if let Some(octet) = self.carried.take() {
            block.put_u8(octet);
        }
        for octet in &self.content {
            if block.len() >= size {
                break;
            }
            taken += 1;
            let second = match octet {
                b'\n' => Some(b'\n'),
                b'\r' => Some(0),
                _ => None,
            };
            match second {
                None => block.put_u8(*octet),
                Some(second) => {
                    block.put_u8(b'\r');
                    if block.len() < size {
                        block.put_u8(second);
                    } else {
                        self.carried = Some(second);
                    }
                }
            }
        }
        let _ = self.content.split_to(taken);
        block.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blocks(content: &[u8], mode: Mode, size: usize) -> Vec<Bytes> {
        let mut source = Source::new(Bytes::copy_from_slice(content), mode);
        std::iter::from_fn(|| source.next_block(size)).collect()
    }

    #[test]
    fn an_exact_multiple_ends_with_an_empty_block_rfc1350_6() {
        let lengths = |n: usize| -> Vec<usize> {
            blocks(&vec![7; n], Mode::Octet, 512).iter().map(Bytes::len).collect()
        };
        assert_eq!(lengths(1024), [512, 512, 0]);
        assert_eq!(lengths(1025), [512, 512, 1]);
        assert_eq!(lengths(0), [0]);
    }

    #[test]
    fn netascii_doubles_line_ends_rfc1123_4_2_4() {
        let all = blocks(b"a\nb\rc\r\n", Mode::Netascii, 8).concat();
        assert_eq!(all, b"a\r\nb\r\0c\r\0\r\n");
    }

    proptest! {
        #[test]
        fn netascii_pairs_survive_every_block_border(
            content in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            size in 8usize..20,
        ) {
            let mut want = Vec::new();
            for octet in &content {
                match octet {
                    b'\n' => want.extend(b"\r\n"),
                    b'\r' => want.extend(b"\r\0"),
                    other => want.push(*other),
                }
            }
            let got = blocks(&content, Mode::Netascii, size);
            prop_assert!(got.iter().rev().skip(1).all(|block| block.len() == size));
            prop_assert!(got.last().is_some_and(|block| block.len() < size));
            prop_assert_eq!(got.concat(), want);
        }
    }
}
