//! How a connection begins: encryption refused, session set up, or a cancel carried out.

use pgwire::messages::PgWireBackendMessage as Out;
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey};
use varve_model::id::ProcessId;
use varve_model::id::process::{Cancel, CancelScope};
use varve_model::name::DEFAULT_DATABASE;
use varve_model::{Error, Result};

use super::failure::{Failure, Halt};
use super::frame::{self, Startup};
use super::wire::Wire;
use super::{SERVER_VERSION, Shared};
use crate::gateway::Query;
use crate::output::Output;
use crate::process::Connection;
use crate::session::{Session, Wire as SessionWire, user_name};

/// Packets before the session starts: TLS and GSSAPI, each refused once, and one more.
const PACKETS_MAX: usize = 3;

/// Reads what the client wants; `None` when it only wanted to cancel.
pub(super) async fn greet(wire: &mut Wire, shared: &Shared) -> Result<Option<Session>, Halt> {
    for _ in 0..PACKETS_MAX {
        match frame::startup(wire.startup_packet().await?)? {
            Startup::Ssl | Startup::Gss => wire.answer(b'N').await?,
            Startup::Cancel { process, secret } => {
                cancel(shared, process, secret.to_vec()).await;
                return Ok(None);
            }
            Startup::Session { minor, params } => return begin(wire, shared, minor, params).await.map(Some),
        }
    }
    Err(Failure::fatal("08P01", "too many packets before the session starts").into())
}

/// Stops the query of a process on whichever frontend it runs. The client is not told whether it was there.
async fn cancel(shared: &Shared, process: i32, secret: Vec<u8>) {
    let process = ProcessId(process as u32);
    let cancel = Cancel { process, scope: CancelScope::Statement, secret: Some(secret) };
    if let Err(error) = shared.gateway.cancel(cancel).await {
        tracing::debug!(%process, %error, "a cancel request was not carried out");
    }
}

async fn begin(wire: &mut Wire, shared: &Shared, minor: u16, params: Vec<(String, String)>) -> Result<Session, Halt> {
    let get = |name: &str| params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let user = get("user").filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| Failure::fatal("28000", "no PostgreSQL user name specified in startup packet"))?;
    let mut session = Session::new(SessionWire::Postgres);
    session.user = user_name(user);
    session.database = database(shared, &session, get("database").unwrap_or_default()).await?;
    if let Some(zone) = get("TimeZone").or_else(|| get("timezone")).filter(|zone| !zone.is_empty()) {
        zone.clone_into(&mut session.time_zone);
    }
    // Protocol options that we do not know are named, so that the client goes on without them.
    let options = params.iter().map(|(key, _)| key).filter(|key| key.starts_with("_pq_.")).cloned().collect::<Vec<_>>();
    if minor > 0 || !options.is_empty() {
        wire.put(&Out::NegotiateProtocolVersion(NegotiateProtocolVersion::new(0, options)))?;
    }
    wire.put(&Out::Authentication(Authentication::Ok))?;
    let application = get("application_name").unwrap_or_default();
    for (name, value) in [
        ("server_version", SERVER_VERSION),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", session.time_zone.as_str()),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "on"),
        ("in_hot_standby", "off"),
        ("default_transaction_read_only", "off"),
        ("session_authorization", user),
        ("application_name", application),
    ] {
        wire.put(&parameter(name, value))?;
    }
    Ok(session)
}

/// The message that tells the client a setting.
pub(super) fn parameter(name: &str, value: &str) -> Out {
    Out::ParameterStatus(ParameterStatus::new(name.to_owned(), value.to_owned()))
}

/// The message that tells the client how to cancel.
pub(super) fn cancel_key(process: &Connection) -> Out {
    let secret = SecretKey::I32(i32::from_be_bytes(process.secret()));
    Out::BackendKeyData(BackendKeyData::new(process.id().0 as i32, secret))
}

/// The database a session starts in. libpq sends the user's name when none is given: that is no wish.
async fn database(shared: &Shared, session: &Session, name: &str) -> Result<String, Halt> {
    let wished = !name.is_empty() && name != session.user;
    if name.is_empty() || name == DEFAULT_DATABASE {
        return Ok(DEFAULT_DATABASE.to_owned());
    }
    let names = database_names(shared, session).await?;
    if names.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    if wished {
        return Err(Failure::fatal("3D000", format!("database \"{name}\" does not exist")).into());
    }
    Ok(DEFAULT_DATABASE.to_owned())
}

async fn database_names(shared: &Shared, session: &Session) -> Result<Vec<String>> {
    let query = Query::Sql { text: "SHOW DATABASES".to_owned(), params: Vec::new() };
    let mut names = Vec::new();
    for output in shared.gateway.run(&session.next(), query).await? {
        let Output::Rows { stream, .. } = output else { continue };
        for batch in Output::collect(stream).await? {
            let column = arrow::compute::cast(batch.column(0), &arrow_schema::DataType::Utf8)
                .map_err(|error| Error::internal("SHOW DATABASES answers text").with_source(error))?;
            names.extend(arrow_array::cast::as_string_array(&column).iter().flatten().map(str::to_owned));
        }
    }
    Ok(names)
}
