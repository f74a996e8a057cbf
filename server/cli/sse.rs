//! Reads server-sent events (HTML Living Standard §9.2.6) from bytes as they come. Pure.

/// An event without its name: the daemon sends but one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `id:` in force when it was sent.
    pub id: String,
    pub data: String,
}

/// More without a line break is none of ours: a journal line has at most some 40 KiB.
const LIMIT: usize = 1 << 20;

/// Takes bytes in any portions and gives whole messages.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    id: String,
    data: String,
}

impl Parser {
    /// Messages that `bytes` complete. `Err` if what comes cannot be an event stream.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, &'static str> {
        let mut messages = Vec::new();
        for byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => messages.extend(self.end_of_line()),
                _ => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > LIMIT {
                return Err("an event without an end");
            }
        }
        Ok(messages)
    }

    fn end_of_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let data = data.strip_suffix('\n')?.to_owned();
            return Some(Message { id: self.id.clone(), data });
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // A comment keeps the connection alive; `event` and `retry` are not used.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": hello\n\nid: 7\ndata: {\"a\":1}\n\nid:8\r\ndata:one\r\ndata: two\r\n\r\nevent: x\n\ndata\n\nid: 9\ndata: not yet";

    fn message(id: &str, data: &str) -> Message {
        Message { id: id.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn messages_are_the_same_however_the_bytes_are_portioned() {
        let wanted = [message("7", "{\"a\":1}"), message("8", "one\ntwo"), message("8", "")];
        for portion in 1..STREAM.len() {
            let mut parser = Parser::default();
            let found: Vec<Message> =
                STREAM.chunks(portion).flat_map(|bytes| parser.feed(bytes).unwrap()).collect();
            assert_eq!(found, wanted, "{portion}");
        }
    }

    #[test]
    fn a_stream_without_an_end_is_given_up() {
        let mut parser = Parser::default();
        assert!((0..1100).any(|_| parser.feed(&[b'x'; 1024]).is_err()));
    }
}
