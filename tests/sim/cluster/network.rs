//! The network between the processes of a cluster: delays, loses, cuts, breaks streams.
//!
//! A call runs on the tasks of the process that is called, so that a kill or a
//! pause of it reaches the call; the caller waits on its own. Dropping a call
//! ends its work, as a reset of the connection does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::Messages;
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

/// After so long without a sign of life a connection is given up.
const KEEPALIVE: Duration = Duration::from_secs(4);
/// How often a message that is held looks whether it may go on.
const STALL: Duration = Duration::from_millis(5);
/// Messages of a stream on their way.
const IN_FLIGHT_MAX: usize = 4;

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Metasrv(u64),
    Datanode(u64),
    Frontend(u64),
    /// Outside the cluster: never killed, paused or cut off.
    Reader(u64),
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Metasrv(number) => write!(f, "metasrv-{number}"),
            Self::Datanode(number) => write!(f, "datanode-{number}"),
            Self::Frontend(number) => write!(f, "frontend-{number}"),
            Self::Reader(number) => write!(f, "reader-{number}"),
        }
    }
}

/// How bad the network is: rates are in thousandths of the messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) delay_max: Duration,
    pub(crate) lost_requests: u64,
    pub(crate) lost_replies: u64,
    pub(crate) broken_streams: u64,
}

#[derive(Debug, Default)]
struct State {
    weather: Weather,
    /// Nothing goes from the first to the second.
    cuts: BTreeSet<(Peer, Peer)>,
    /// The next message from the first to the second goes through, and those behind it wait.
    last: BTreeSet<(Peer, Peer)>,
    /// What goes from the first to the second waits.
    stalled: BTreeSet<(Peer, Peer)>,
    paused: BTreeSet<Peer>,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Network {
    clock: SharedClock,
    state: Mutex<State>,
}

/// What a process serves while it runs: the tasks that calls run on, the service, and which life it is.
#[derive(Debug)]
pub(crate) struct Running<T: ?Sized> {
    pub(crate) tasks: TaskSet,
    pub(crate) service: Arc<T>,
    pub(crate) life: u64,
}

impl<T: ?Sized> Clone for Running<T> {
    fn clone(&self) -> Self {
        Self { tasks: self.tasks.clone(), service: Arc::clone(&self.service), life: self.life }
    }
}

/// The place where a process listens; empty while nobody does.
pub(crate) type Slot<T> = Arc<Mutex<Option<Running<T>>>>;

/// One direction of calls.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) network: Arc<Network>,
    pub(crate) from: Peer,
    pub(crate) to: Peer,
}

/// Ends the task with its last holder.
struct Held<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a stream's pump sends: a channel that closes without an end is a broken stream.
enum Frame<T> {
    Item(T),
    End,
}

impl Network {
    pub(crate) fn new(clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default() })
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// From now on nothing goes from one to the other.
    pub(crate) fn cut(&self, from: Peer, to: Peer) {
        self.state.lock().cuts.insert((from, to));
    }

    pub(crate) fn mend(&self) {
        let mut state = self.state.lock();
        state.cuts.clear();
        state.stalled.clear();
    }

    /// One more message goes from one to the other; what follows waits.
    pub(crate) fn stall_after_next(&self, from: Peer, to: Peer) {
        self.state.lock().last.insert((from, to));
    }

    /// What goes from one to the other waits.
    pub(crate) fn stall(&self, from: Peer, to: Peer) {
        self.state.lock().stalled.insert((from, to));
    }

    /// Whether what goes from one to the other waits. Nobody notices, as long as nobody waits for an answer.
    pub(crate) fn is_stalled(&self, from: Peer, to: Peer) -> bool {
        self.state.lock().stalled.contains(&(from, to))
    }

    /// What waited goes on.
    pub(crate) fn go_on(&self, from: Peer, to: Peer) {
        self.state.lock().stalled.remove(&(from, to));
    }

    pub(crate) fn set_paused(&self, peer: Peer, paused: bool) {
        let mut state = self.state.lock();
        if paused {
            state.paused.insert(peer);
        } else {
            state.paused.remove(&peer);
        }
    }

    fn draws(&self, of_1000: u64) -> bool {
        of_1000 > 0 && self.clock.random() % 1000 < u128::from(of_1000)
    }

    fn is_cut(&self, from: Peer, to: Peer) -> bool {
        self.state.lock().cuts.contains(&(from, to))
    }

    /// Whether `from` would hear nothing of a connection with `to` that is idle.
    fn is_silent(&self, from: Peer, to: Peer) -> bool {
        let state = self.state.lock();
        state.paused.contains(&to) || state.cuts.contains(&(from, to)) || state.cuts.contains(&(to, from))
    }

    async fn delay(&self) {
        let longest = self.state.lock().weather.delay_max.as_micros();
        if longest > 0 {
            // Mostly short, sometimes long: twice the same draw would reorder nothing.
            let micros = self.clock.random() % longest;
            let micros = if self.clock.random().is_multiple_of(8) { micros } else { micros / 16 };
            self.clock.sleep(Duration::from_micros(micros as u64)).await;
        }
    }

    /// One message; false when it never arrives.
    async fn arrives(&self, from: Peer, to: Peer, lost: u64) -> bool {
        self.delay().await;
        while self.is_stalled(from, to) && !self.is_cut(from, to) {
            self.clock.sleep(STALL).await;
        }
        let arrives = !self.is_cut(from, to) && !self.draws(lost);
        let mut state = self.state.lock();
        if state.last.remove(&(from, to)) {
            state.stalled.insert((from, to));
        }
        arrives
    }
}

fn refused(to: Peer) -> Error {
    Error::unavailable(format!("{to} refuses the connection")).with_reason(Reason::Unreachable)
}

fn broken(peer: Peer) -> Error {
    Error::unavailable(format!("the connection with {peer} broke"))
}

impl Link {
    /// Calls `work` on the service in `slot`. Errors: those of the work; `Unavailable`, `Timeout` = nobody knows.
    pub(crate) async fn call<T: ?Sized, R: Send + 'static>(
        &self,
        call: &Call,
        slot: &Slot<T>,
        work: impl FnOnce(Running<T>, Call) -> BoxFuture<'static, Result<R>>,
    ) -> Result<R> {
        let Self { network, from, to } = self;
        let weather = network.state.lock().weather;
        let hang = call.timeout.min(KEEPALIVE);
        if !network.arrives(*from, *to, weather.lost_requests).await {
            network.clock.sleep(hang).await;
            return Err(broken(*to));
        }
        let running = slot.lock().clone().ok_or_else(|| refused(*to))?;
        let tasks = running.tasks.clone();
        let mut task = Held(tasks.spawn("call", work(running, call.clone())));
        let answer = tokio::select! {
            joined = &mut task.0 => joined.map_err(|_| broken(*to))?,
            () = network.clock.sleep(call.timeout) => {
                return Err(Error::new(ErrorKind::Timeout, format!("{to} did not answer in time")));
            }
        };
        if !network.arrives(*to, *from, weather.lost_replies).await {
            network.clock.sleep(hang).await;
            return Err(broken(*to));
        }
        answer
    }

    /// The stream as `to` receives it from `from`, whose tasks send it. `on_break` is the last item of a broken one.
    pub(crate) fn stream<T: Send + 'static>(
        &self,
        sender: &TaskSet,
        mut stream: Messages<T>,
        on_break: fn(Peer) -> Option<T>,
    ) -> Messages<T> {
        let (frames, received) = mpsc::channel(IN_FLIGHT_MAX);
        let link = self.clone();
        sender.spawn("stream", async move {
            loop {
                let item = tokio::select! {
                    item = stream.next() => item,
                    () = frames.closed() => return,
                };
                let lost = link.network.state.lock().weather.broken_streams;
                if !link.network.arrives(link.from, link.to, lost).await {
                    return;
                }
                let is_last = item.is_none();
                let sent = frames.send(item.map_or(Frame::End, Frame::Item)).await;
                if is_last || sent.is_err() {
                    return;
                }
            }
        });
        let state = Some((received, self.clone()));
        Box::pin(futures::stream::unfold(state, move |state| async move {
            let (mut received, link) = state?;
            let frame = tokio::select! {
                frame = received.recv() => frame,
                () = link.silence() => None,
            };
            match frame {
                Some(Frame::Item(item)) => Some((item, Some((received, link)))),
                Some(Frame::End) => None,
                None => on_break(link.from).map(|last| (last, None)),
            }
        }))
    }

    /// Waits up to so long: the other end takes nothing yet.
    pub(crate) async fn rest(&self, longest: Duration) {
        let micros = self.network.clock.random() % (longest.as_micros() + 1);
        self.network.clock.sleep(Duration::from_micros(micros as u64)).await;
    }

    /// The way back.
    pub(crate) fn back(&self) -> Self {
        Self { network: Arc::clone(&self.network), from: self.to, to: self.from }
    }

    /// Returns when the other end has shown no life for long.
    async fn silence(&self) {
        loop {
            self.network.clock.sleep(KEEPALIVE).await;
            if self.network.is_silent(self.to, self.from) {
                return;
            }
        }
    }
}

/// The last item of a broken stream of results.
#[allow(clippy::unnecessary_wraps, reason = "a stream's item, like `broken_end`")]
pub(crate) fn broken_result<T>(from: Peer) -> Option<Result<T>> {
    Some(Err(broken(from)))
}

/// A stream without errors just ends.
pub(crate) fn broken_end<T>(_: Peer) -> Option<T> {
    None
}
