//! How a connection begins: greeting, login, session.
//!
//! Today any user with any password is accepted. The exchange is nevertheless
//! the one that users will need: a fresh nonce per connection, the method
//! `caching_sha2_password`, its fast path, and a switch for clients that began
//! with a method whose answer could not be judged.

use bytes::Bytes;
use mysql_common::constants::{CapabilityFlags, StatusFlags};
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthMoreData, AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse};
use mysql_common::proto::MyDeserialize;
use varve_model::name::DEFAULT_DATABASE;

use super::failure::{BAD_HANDSHAKE, Failure, Halt};
use super::wire::Wire;
use super::{SERVER_VERSION, Shared, kind, text};
use crate::gateway::Query;
use crate::session::{Session, Wire as SessionWire, user_name};

/// The method that the server proposes.
const METHOD: AuthPlugin<'static> = AuthPlugin::CachingSha2Password;
/// In an AuthMoreData packet: the server knows the password's hash, and the answer proves it.
const FAST_PATH_DONE: &[u8] = &[3];
/// Bytes of an answer by `mysql_native_password`.
const NATIVE_ANSWER_BYTES: usize = 20;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 20;
/// Bytes of a nonce in the greeting's first field.
const NONCE_HEAD_BYTES: usize = 8;

/// What the server can. Not offered: TLS, compression, local files, query attributes, session tracking.
pub(super) fn capabilities() -> CapabilityFlags {
    CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_FOUND_ROWS
        | CapabilityFlags::CLIENT_LONG_FLAG
        | CapabilityFlags::CLIENT_CONNECT_WITH_DB
        | CapabilityFlags::CLIENT_ODBC
        | CapabilityFlags::CLIENT_IGNORE_SPACE
        | CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_INTERACTIVE
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_RESERVED
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_MULTI_STATEMENTS
        | CapabilityFlags::CLIENT_MULTI_RESULTS
        | CapabilityFlags::CLIENT_PS_MULTI_RESULTS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_CONNECT_ATTRS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
        | CapabilityFlags::CLIENT_DEPRECATE_EOF
}

/// What a client sent to log in.
#[derive(Debug)]
pub(super) struct Login {
    capabilities: CapabilityFlags,
    user: String,
    database: String,
    answer: Vec<u8>,
    method: AuthPlugin<'static>,
}

/// Greets, and logs the client in. Returns its session and what both sides can.
pub(super) async fn greet(wire: &mut Wire, shared: &Shared, id: u32) -> Result<(Session, CapabilityFlags), Halt> {
    let nonce = nonce(shared.clock.random());
    let (head, tail) = nonce.split_at(NONCE_HEAD_BYTES);
    let mut first = [0; NONCE_HEAD_BYTES];
    first.copy_from_slice(head);
    // The rest of the nonce ends with a NUL, as all of MySQL's versions send it.
    let tail = [tail, &[0]].concat();
    let greeting = HandshakePacket::new(
        10,
        SERVER_VERSION.as_bytes(),
        id,
        first,
        Some(tail),
        capabilities(),
        kind::UTF8MB4,
        StatusFlags::SERVER_STATUS_AUTOCOMMIT,
        Some(METHOD.as_bytes()),
    );
    wire.put(&greeting);
    wire.flush().await?;
    let (packet, _charge) = wire.packet().await??.open();
    let login = read(&packet)?;
    let can_switch = login.capabilities.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH);
    authenticate(wire, shared, login.method, &login.answer, can_switch).await?;
    let mut session = Session::new(SessionWire::Mysql);
    session.user = user_name(&login.user);
    session.connection = id;
    session.database = database(shared, &session, &login.database).await?;
    Ok((session, login.capabilities & capabilities()))
}

/// Printable bytes: some clients take the nonce for a text that ends with a NUL.
fn nonce(random: u128) -> [u8; NONCE_BYTES] {
    const FIRST: u8 = b'%';
    let mut rest = random;
    std::array::from_fn(|_| {
        let byte = FIRST + (rest & 63) as u8;
        rest >>= 6;
        byte
    })
}

pub(super) fn read(packet: &Bytes) -> Result<Login, Failure> {
    let bad = |text: &str| Failure::fatal(BAD_HANDSHAKE, format!("Bad handshake: {text}"));
    let flags = packet.first_chunk::<4>().ok_or_else(|| bad("the packet is too short"))?;
    let flags = CapabilityFlags::from_bits_truncate(u32::from_le_bytes(*flags));
    if !flags.contains(CapabilityFlags::CLIENT_PROTOCOL_41) {
        return Err(bad("the client speaks a protocol older than 4.1"));
    }
    if flags.contains(CapabilityFlags::CLIENT_SSL) {
        return Err(bad("TLS is not offered; connect without it"));
    }
    let parsed = HandshakeResponse::deserialize((), &mut ParseBuf(packet)).map_err(|_| bad("malformed packet"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Login {
        capabilities: flags,
        user: text(parsed.user()),
        database: text(parsed.db_name().unwrap_or_default()),
        answer: parsed.scramble_buf().to_vec(),
        method: parsed.auth_plugin().map_or(AuthPlugin::MysqlNativePassword, |method| method.clone().into_owned()),
    })
}

/// Carries the login to its end; the caller sends the OK.
pub(super) async fn authenticate(
    wire: &mut Wire,
    shared: &Shared,
    method: AuthPlugin<'_>,
    answer: &[u8],
    can_switch: bool,
) -> Result<(), Halt> {
    let wanted = match method {
        AuthPlugin::CachingSha2Password => None,
        // A client that prefers this method had no nonce for it yet, unless it took the greeting's.
        AuthPlugin::MysqlNativePassword => (answer.len() != NATIVE_ANSWER_BYTES).then_some(method.borrow()),
        _ => Some(METHOD),
    };
    let Some(wanted) = wanted.filter(|_| can_switch) else { return finish(wire, &method, answer).await };
    let nonce = [&nonce(shared.clock.random())[..], &[0]].concat();
    wire.put(&AuthSwitchRequest::new(wanted.as_bytes(), nonce));
    wire.flush().await?;
    let (answer, _charge) = wire.packet().await??.open();
    finish(wire, &wanted, &answer).await
}

/// A client that sent a password by the caching method waits for a word about its answer.
async fn finish(wire: &mut Wire, method: &AuthPlugin<'_>, answer: &[u8]) -> Result<(), Halt> {
    let no_password = matches!(answer, [] | [0]);
    if *method == METHOD && !no_password {
        wire.put(&AuthMoreData::new(FAST_PATH_DONE));
        wire.flush().await?;
    }
    Ok(())
}

/// The database a session starts in. Errors: there is none of this name.
pub(super) async fn database(shared: &Shared, session: &Session, name: &str) -> Result<String, Halt> {
    if name.is_empty() || name == DEFAULT_DATABASE {
        return Ok(DEFAULT_DATABASE.to_owned());
    }
    let query = Query::Sql { text: format!("USE {}", text::identifier(name)), params: Vec::new() };
    shared.gateway.run(&session.next(), query).await?;
    Ok(name.to_owned())
}
