//! The accept loop of every wire. What a client is told when there are too many is the wire's.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a wire's loop needs.
#[derive(Debug)]
pub(crate) struct Accept {
    /// The wire, in logs.
    pub(crate) wire: &'static str,
    /// More than these are handed out without a slot.
    pub(crate) connections_max: usize,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: TaskSet,
}

impl Accept {
    /// Serves connections until the task set stops. `serve` is told whether there is room for one more.
    pub(crate) async fn run<F>(self, listener: TcpListener, serve: impl Fn(TcpStream, bool) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(self.connections_max));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.tasks.token().cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let slot = slots.clone().try_acquire_owned().ok();
                    let serving = serve(stream, slot.is_some());
                    self.tasks.spawn("connection", async move {
                        Box::pin(serving).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(wire = self.wire, %error, "accept failed");
                    self.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
