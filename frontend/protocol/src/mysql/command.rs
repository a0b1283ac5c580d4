//! Commands that clients send. Every read is checked; nothing is read beyond a packet's own length.

use bytes::{Buf, Bytes};
use varve_model::limits::SQL_TEXT_BYTES_MAX;
use varve_model::{ErrorKind, Reason};

use super::failure::{self, Failure};
use super::text::{self, utf8};

/// A command of a connection that is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    InitDb(String),
    Query(String),
    /// The columns of a table; a pattern after its name is not looked at.
    FieldList(String),
    Statistics,
    Ping,
    Kill(u32),
    ChangeUser(ChangeUser),
    Prepare(String),
    Execute {
        statement: u32,
        /// NULL bitmap, types and values, whose count the statement knows.
        values: Bytes,
    },
    LongData {
        statement: u32,
        param: u16,
        data: Bytes,
    },
    /// A piece of a value that was thrown away, and why.
    Lost {
        statement: u32,
        failure: Failure,
    },
    Close(u32),
    Reset(u32),
    /// More rows of a cursor.
    Fetch(u32),
    /// Whether several statements may stand in one text.
    MultiStatements(bool),
    ResetConnection,
}

/// A login on an open connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChangeUser {
    pub(super) user: String,
    pub(super) answer: Bytes,
    pub(super) database: String,
    /// The name of the method that made the answer; empty when the client named none.
    pub(super) method: Bytes,
}

/// Bytes of an execute command before its values: statement, cursor flags, iterations.
const EXECUTE_BYTES: usize = 9;
/// The command whose packets are pieces of a value.
const LONG_DATA: u8 = 0x18;

/// Checked reads from the front of a packet.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, bytes: usize) -> Result<Bytes, Failure> {
        if self.0.len() < bytes { Err(Failure::malformed()) } else { Ok(self.0.split_to(bytes)) }
    }

    fn u8(&mut self) -> Result<u8, Failure> {
        self.take(1).map(|mut bytes| bytes.get_u8())
    }

    fn u16(&mut self) -> Result<u16, Failure> {
        self.take(2).map(|mut bytes| bytes.get_u16_le())
    }

    fn u32(&mut self) -> Result<u32, Failure> {
        self.take(4).map(|mut bytes| bytes.get_u32_le())
    }

    /// Bytes up to a NUL.
    fn terminated(&mut self) -> Result<Bytes, Failure> {
        let end = memchr::memchr(0, &self.0).ok_or_else(Failure::malformed)?;
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        Ok(bytes)
    }

    fn rest(self) -> Result<String, Failure> {
        utf8(&self.0)
    }

    /// Errors: what is left is longer than SQL may be, which is told before text is made of it.
    fn short(self) -> Result<Self, Failure> {
        if self.0.len() > SQL_TEXT_BYTES_MAX { Err(too_long()) } else { Ok(self) }
    }
}

/// The failure of a text that is longer than SQL may be.
pub(super) fn too_long() -> Failure {
    let code = failure::code(ErrorKind::InvalidRequest, Reason::TooLarge);
    Failure::new(code, format!("SQL text is longer than {SQL_TEXT_BYTES_MAX} bytes"))
}

/// Bytes of a command that [`lost`] must see.
pub(super) const HEAD_BYTES: usize = 5;

/// The command of a packet that was thrown away. Errors: why, unless the command is never answered.
pub(super) fn lost(head: &[u8], failure: Failure) -> Result<Command, Failure> {
    match head {
        [LONG_DATA, statement @ ..] if statement.len() == 4 => {
            let statement = statement.iter().rev().fold(0, |id, byte| id << 8 | u32::from(*byte));
            Ok(Command::Lost { statement, failure })
        }
        _ => Err(failure),
    }
}

/// Reads a command.
///
/// Errors: fatal for commands that are never answered, since the client would take the
/// error for the answer to its next one.
pub(super) fn command(packet: Bytes) -> Result<Command, Failure> {
    let mut reader = Reader(packet);
    let code = reader.u8()?;
    Ok(match code {
        0x01 => Command::Quit,
        0x02 => Command::InitDb(reader.short()?.rest()?),
        0x03 => Command::Query(text::statement(&reader.short()?.0)?),
        0x04 => Command::FieldList(utf8(&reader.short()?.terminated()?)?),
        0x09 => Command::Statistics,
        0x0c => Command::Kill(reader.u32()?),
        0x0e => Command::Ping,
        0x11 => Command::ChangeUser(change_user(reader.short()?)?),
        0x16 => Command::Prepare(reader.short()?.rest()?),
        0x17 => {
            let statement = reader.u32()?;
            reader.take(EXECUTE_BYTES - 4)?;
            Command::Execute { statement, values: reader.0 }
        }
        LONG_DATA => silent(long_data(reader))?,
        0x19 => silent(reader.u32().map(Command::Close))?,
        0x1a => Command::Reset(reader.u32()?),
        0x1b => match reader.u16()? {
            0 => Command::MultiStatements(true),
            1 => Command::MultiStatements(false),
            _ => return Err(Failure::new(failure::UNKNOWN_COMMAND, "Unknown command")),
        },
        0x1c => Command::Fetch(reader.u32()?),
        0x1f => Command::ResetConnection,
        _ => return Err(Failure::new(failure::UNKNOWN_COMMAND, "Unknown command")),
    })
}

fn silent(command: Result<Command, Failure>) -> Result<Command, Failure> {
    command.map_err(|failure| Failure { fatal: true, ..failure })
}

fn long_data(mut reader: Reader) -> Result<Command, Failure> {
    Ok(Command::LongData { statement: reader.u32()?, param: reader.u16()?, data: reader.0 })
}

fn change_user(mut reader: Reader) -> Result<ChangeUser, Failure> {
    let user = reader.terminated()?;
    let bytes = reader.u8()?;
    let answer = reader.take(usize::from(bytes))?;
    let database = utf8(&reader.terminated()?)?;
    // Older clients stop here; newer ones name a character set and a method.
    let method = if reader.u16().is_ok() { reader.terminated().unwrap_or_default() } else { Bytes::new() };
    Ok(ChangeUser { user: String::from_utf8_lossy(&user).into_owned(), answer, database, method })
}
