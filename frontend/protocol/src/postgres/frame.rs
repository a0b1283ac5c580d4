//! Messages that clients send. Every read is checked; nothing is read beyond a message's own length.

use bytes::{Buf, Bytes};
use varve_model::limits::SQL_TEXT_BYTES_MAX;

use super::failure::Failure;

/// A message of an established connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Query(String),
    Parse {
        name: String,
        sql: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe {
        target: Target,
        name: String,
    },
    Execute {
        portal: String,
        rows_max: usize,
    },
    Close {
        target: Target,
        name: String,
    },
    Sync,
    Flush,
    Terminate,
    /// Copy data and late passwords, which PostgreSQL skips outside of their phase too.
    Skipped,
}

/// Values for a prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) portal: String,
    pub(super) statement: String,
    pub(super) param_formats: Vec<i16>,
    pub(super) params: Vec<Option<Bytes>>,
    pub(super) result_formats: Vec<i16>,
}

/// What a Describe or Close names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Statement,
    Portal,
}

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Startup {
    /// Asks for TLS.
    Ssl,
    /// Asks for GSSAPI encryption.
    Gss,
    /// Asks to cancel another connection's query.
    Cancel { process: i32, secret: Bytes },
    /// Protocol 3.x.
    Session { minor: u16, params: Vec<(String, String)> },
}

/// Bytes of the first packet; PostgreSQL's own limit.
pub(super) const STARTUP_BYTES_MAX: usize = 10_000;
const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;
/// Bytes of a cancel key; protocol 3.2 allows up to 256.
const SECRET_BYTES_MAX: usize = 256;

/// Checked reads from the front of a message.
struct Reader(Bytes);

impl Reader {
    fn need(&self, bytes: usize) -> Result<(), Failure> {
        if self.0.len() < bytes { Err(Failure::protocol("insufficient data left in message")) } else { Ok(()) }
    }

    fn u8(&mut self) -> Result<u8, Failure> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    fn i16(&mut self) -> Result<i16, Failure> {
        self.need(2)?;
        Ok(self.0.get_i16())
    }

    fn i32(&mut self) -> Result<i32, Failure> {
        self.need(4)?;
        Ok(self.0.get_i32())
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, Failure> {
        self.need(bytes)?;
        Ok(self.0.split_to(bytes))
    }

    /// A text up to its NUL. Errors: it is longer than SQL may be, which is told before it is copied.
    fn text(&mut self) -> Result<String, Failure> {
        let end = memchr::memchr(0, &self.0).ok_or_else(|| Failure::protocol("invalid string in message"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        if text.len() > SQL_TEXT_BYTES_MAX {
            return Err(Failure::new("54000", format!("SQL text or name is longer than {SQL_TEXT_BYTES_MAX} bytes")));
        }
        String::from_utf8(text.to_vec())
            .map_err(|_| Failure::new("22021", "invalid byte sequence for encoding \"UTF8\""))
    }

    /// `count` items, each of at least `bytes_min`: a wrong count reserves nothing.
    fn list<T>(&mut self, bytes_min: usize, item: impl Fn(&mut Self) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
        let count = usize::from(self.i16()? as u16);
        self.need(count * bytes_min)?;
        (0..count).map(|_| item(self)).collect()
    }

    fn end(self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(Failure::protocol("invalid message format")) }
    }
}

/// Reads the body of a message.
///
/// Errors: fatal for an unknown type, since nothing after it can be trusted.
pub(super) fn message(kind: u8, body: Bytes) -> Result<Message, Failure> {
    let mut reader = Reader(body);
    let message = match kind {
        b'Q' => Message::Query(reader.text()?),
        b'P' => Message::Parse {
            name: reader.text()?,
            sql: reader.text()?,
            types: reader.list(4, |reader| reader.i32().map(|oid| oid as u32))?,
        },
        b'B' => Message::Bind(Bind {
            portal: reader.text()?,
            statement: reader.text()?,
            param_formats: reader.list(2, Reader::i16)?,
            params: reader.list(4, parameter)?,
            result_formats: reader.list(2, Reader::i16)?,
        }),
        b'D' => Message::Describe { target: target(&mut reader)?, name: reader.text()? },
        b'E' => Message::Execute { portal: reader.text()?, rows_max: reader.i32()?.max(0) as usize },
        b'C' => Message::Close { target: target(&mut reader)?, name: reader.text()? },
        b'S' => Message::Sync,
        b'H' => Message::Flush,
        b'X' => Message::Terminate,
        kind if is_skipped(kind) => return Ok(Message::Skipped),
        b'F' => return Err(Failure::new("0A000", "function calls are not supported")),
        kind => return Err(Failure::fatal("08P01", format!("invalid frontend message type {kind}"))),
    };
    reader.end()?;
    Ok(message)
}

fn parameter(reader: &mut Reader) -> Result<Option<Bytes>, Failure> {
    match reader.i32()? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| Failure::protocol("invalid parameter length"))?;
            reader.take(len).map(Some)
        }
    }
}

fn target(reader: &mut Reader) -> Result<Target, Failure> {
    match reader.u8()? {
        b'S' => Ok(Target::Statement),
        b'P' => Ok(Target::Portal),
        other => Err(Failure::protocol(format!("invalid DESCRIBE or CLOSE message subtype {other}"))),
    }
}

/// Whether a message has no meaning here, so that its body need not be kept.
pub(super) fn is_skipped(kind: u8) -> bool {
    matches!(kind, b'p' | b'd' | b'c' | b'f')
}

/// Whether an error in this message makes the server skip up to the next Sync.
pub(super) fn is_extended(kind: u8) -> bool {
    matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C' | b'H')
}

/// Reads the first packet, without its length.
pub(super) fn startup(body: Bytes) -> Result<Startup, Failure> {
    let mut reader = Reader(body);
    let code = reader.i32()?;
    match code {
        SSL_REQUEST => Ok(Startup::Ssl),
        GSS_REQUEST => Ok(Startup::Gss),
        CANCEL_REQUEST => {
            let process = reader.i32()?;
            let len = reader.0.len().min(SECRET_BYTES_MAX);
            Ok(Startup::Cancel { process, secret: reader.take(len)? })
        }
        _ if code >> 16 == 3 => {
            let mut params = Vec::new();
            while !reader.0.is_empty() && reader.0[0] != 0 {
                params.push((reader.text()?, reader.text()?));
            }
            Ok(Startup::Session { minor: code as u16, params })
        }
        _ => {
            let text = format!("unsupported frontend protocol {}.{}: server supports 3.0", code >> 16, code & 0xffff);
            Err(Failure::fatal("0A000", text))
        }
    }
}
