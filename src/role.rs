//! The roles as processes of their own: each runs until it is told to stop.
//!
//! What they share with standalone is below this file; what a cluster adds is
//! here: listeners of their own, metasrv reached over the network, and a
//! datanode that begins a new session when its old one was ended by others.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use varve_model::budget::Account;
use varve_model::{Error, Reason, Result};
use varve_proto::grpc::{MetasrvMembers, Services, Wait};
use varve_proto::metasrv::MetasrvApi;
use varve_service::clock::SharedClock;
use varve_service::shutdown::Signals;
use varve_service::task::TaskSet;

pub mod datanode;
pub mod frontend;
pub mod metasrv;

/// Pause before something that may succeed later is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// All members of metasrv as one, charged to the account. Errors: `InvalidRequest` naming the setting.
fn metasrv_members(
    setting: &str,
    addrs: &[String],
    account: &Account,
    clock: &SharedClock,
) -> Result<Arc<dyn MetasrvApi>> {
    if addrs.is_empty() {
        return Err(Error::invalid(format!("{setting} is empty"))
            .with_reason(Reason::BadValue)
            .with_hint("a cluster needs the addresses of metasrv's members; `varve standalone` needs none"));
    }
    let clock = Arc::clone(clock);
    let wait: Wait = Arc::new(move |time| {
        let clock = Arc::clone(&clock);
        Box::pin(async move { clock.sleep(time).await })
    });
    Ok(Arc::new(MetasrvMembers::over_grpc(addrs.to_vec(), account, wait)?))
}

/// Runs a start to its end, unless the signal to stop comes first: then `None`.
///
/// A start that is broken off is dropped where it stands, as at a crash: nothing was served yet, so nothing
/// was promised. It is a task of its own, so that no step of it that takes long keeps the signal waiting.
pub(crate) async fn unless_stopped<T: Send + 'static>(
    tasks: &TaskSet,
    signals: &mut Signals,
    start: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<Option<T>> {
    let mut starting = tasks.spawn("start", start);
    tokio::select! {
        started = &mut starting => match started {
            Ok(started) => started.map(Some),
            Err(error) => Err(Error::internal("the start panicked").with_source(error)),
        },
        signal = signals.stop() => {
            tracing::info!(signal, "stopping before the start is over");
            starting.abort();
            Ok(None)
        }
    }
}

/// Serves the roles' gRPC until the stop.
pub(crate) async fn serve_grpc(services: Services, listener: TcpListener, stop: CancellationToken) {
    if let Err(error) = services.serve(listener, stop).await {
        tracing::error!(%error, "the gRPC server ended");
    }
}

#[allow(clippy::print_stdout, reason = "the first thing an operator sees")]
fn say(text: &str) {
    println!("{text}");
}
