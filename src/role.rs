//! The roles as processes of their own: each runs until it is told to stop.
//!
//! What they share with standalone is below this file; what a cluster adds is
//! here: listeners of their own, metasrv reached over the network, and a
//! datanode that begins a new session when its old one was ended by others.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use varve_model::{Error, Reason, Result};
use varve_proto::grpc::{MetasrvMembers, Services, Wait};
use varve_proto::metasrv::MetasrvApi;
use varve_service::clock::SharedClock;
use varve_service::shutdown;

pub mod datanode;
pub mod frontend;
pub mod metasrv;

/// Pause before something that may succeed later is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// All members of metasrv as one. Errors: `InvalidRequest` naming the setting.
fn members(setting: &str, addrs: &[String], clock: &SharedClock) -> Result<Arc<dyn MetasrvApi>> {
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
    Ok(Arc::new(MetasrvMembers::over_grpc(addrs.to_vec(), wait)?))
}

/// Resolves with the name of the signal to stop.
async fn stop_requested() -> Result<&'static str> {
    shutdown::requested().await.map_err(|error| Error::internal("cannot wait for signals").with_source(error))
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
