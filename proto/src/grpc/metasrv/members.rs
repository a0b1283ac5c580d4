//! Several metasrvs as one: finds the leader, follows redirects, asks the others when one is away.
//!
//! Only what cannot have been done is sent again, or what may be done twice:
//! a change whose outcome is unknown is the caller's to repeat. A heartbeat is
//! tried once, because beats that a lost stream swallowed carry reports; the
//! failure moves the next try to another member.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use varve_model::budget::Account;
use varve_model::id::{FrontendId, NodeEpoch, TableId};
use varve_model::{Error, ErrorKind, Reason, Result};

use super::MetasrvClient;
use crate::call::Call;
use crate::metasrv::{
    Answer, Answers, Beat, BeatReply, Inquiry, Messages, MetasrvApi, News, Outcome, Procedure, RegionAction,
    RegionReport, Registration, Session, TableChange, Watcher, leader_of,
};

#[cfg(test)]
mod tests;

/// How to wait: the caller's clock.
pub type Wait = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;
/// How to reach the metasrv at an address.
pub type ConnectMetasrv = Arc<dyn Fn(&str) -> Result<Arc<dyn MetasrvApi>> + Send + Sync>;

/// First pause before the next member is asked; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long one member may take to answer what takes no time: longer means that it hangs.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);
/// Addresses that are remembered, those that redirects named included.
const ADDRESSES_MAX: usize = 32;

/// All members of a metasrv group, called as one.
pub struct MetasrvMembers {
    addresses: Vec<String>,
    connect: ConnectMetasrv,
    wait: Wait,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Who is asked next.
    current: String,
    clients: BTreeMap<String, Arc<dyn MetasrvApi>>,
}

/// Whether a request may be sent again when its outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// Doing it twice is like doing it once, and it takes no time.
    Quick,
    /// Doing it twice is like doing it once; it may take as long as the caller waits.
    Slow,
    /// Only when it was surely not done.
    Never,
}

impl fmt::Debug for MetasrvMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetasrvMembers").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl MetasrvMembers {
    /// The members at these `host:port`, over gRPC, charged to the account. Errors: `InvalidRequest` for none or a malformed one.
    ///
    /// Precondition: called within the runtime that will carry the connections.
    pub fn over_grpc(addresses: Vec<String>, account: &Account, wait: Wait) -> Result<Self> {
        for address in &addresses {
            MetasrvClient::new(address, account)?;
        }
        let account = account.clone();
        let connect: ConnectMetasrv = Arc::new(move |address| Ok(Arc::new(MetasrvClient::new(address, &account)?)));
        Self::new(addresses, connect, wait)
    }

    /// The members at these addresses, reached by `connect`. Errors: `InvalidRequest` for none.
    pub fn new(addresses: Vec<String>, connect: ConnectMetasrv, wait: Wait) -> Result<Self> {
        let Some(first) = addresses.first().cloned() else {
            return Err(Error::invalid("no metasrv address is given").with_reason(Reason::BadValue));
        };
        let state = Mutex::new(State { current: first, clients: BTreeMap::new() });
        Ok(Self { addresses, connect, wait, state })
    }

    /// Who is asked next.
    fn current(&self) -> Result<(String, Arc<dyn MetasrvApi>)> {
        let mut state = self.state.lock();
        let address = state.current.clone();
        if let Some(client) = state.clients.get(&address) {
            return Ok((address, Arc::clone(client)));
        }
        if state.clients.len() >= ADDRESSES_MAX {
            state.clients.clear();
        }
        let client = (self.connect)(&address)?;
        state.clients.insert(address.clone(), Arc::clone(&client));
        Ok((address, client))
    }

    /// Asks someone else from now on: the leader that was named, else the next member. Whether a
    /// leader was named that was not the one asked.
    fn leave(&self, asked: &str, error: &Error) -> bool {
        let mut state = self.state.lock();
        if let Some(leader) = leader_of(error).filter(|leader| *leader != asked) {
            leader.clone_into(&mut state.current);
            return true;
        }
        // Another call may have moved on already.
        if state.current == asked {
            let at = self.addresses.iter().position(|address| address == asked);
            let next = at.map_or(0, |at| (at + 1) % self.addresses.len());
            state.current.clone_from(&self.addresses[next]);
        }
        false
    }

    /// Whether another member may know better than this error.
    fn is_worth_another(error: &Error, repeat: Repeat) -> bool {
        match error.reason() {
            Reason::NotLeader | Reason::Unreachable => true,
            _ => repeat != Repeat::Never && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
        }
    }

    async fn attempt<T>(&self, repeat: Repeat, asking: BoxFuture<'_, Result<T>>) -> Result<T> {
        if repeat != Repeat::Quick {
            return asking.await;
        }
        tokio::select! {
            answer = asking => answer,
            () = (self.wait)(ATTEMPT_MAX) => Err(Error::unavailable("metasrv did not answer in time")),
        }
    }

    /// Asks until one answers or the caller's time is over.
    async fn request<T>(
        &self,
        call: &Call,
        repeat: Repeat,
        ask: impl for<'a> Fn(&'a dyn MetasrvApi, &'a Call) -> BoxFuture<'a, Result<T>> + Sync,
    ) -> Result<T> {
        let mut over = (self.wait)(call.timeout);
        let mut pause = PAUSE_MIN;
        let mut redirects = 0;
        loop {
            let (asked, member) = self.current()?;
            let answer = tokio::select! {
                answer = self.attempt(repeat, ask(&*member, call)) => answer,
                () = &mut over => {
                    let text = format!("metasrv {asked} did not answer in time");
                    return Err(Error::new(ErrorKind::Timeout, text));
                }
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if Self::is_worth_another(&error, repeat) => error,
                Err(error) => return Err(error),
            };
            let is_named = self.leave(&asked, &error);
            redirects = if is_named { redirects + 1 } else { 0 };
            // A named leader is asked at once, unless members point at each other.
            if is_named && redirects <= self.addresses.len() {
                continue;
            }
            tokio::select! {
                () = (self.wait)(pause) => pause = (2 * pause).min(PAUSE_MAX),
                () = &mut over => return Err(error.context(format!("ask {} metasrv", self.addresses.len()))),
            }
        }
    }
}

/// Whether carrying a change out twice leaves what carrying it out once does, and says so.
fn is_repeatable(procedure: &Procedure) -> bool {
    match procedure {
        Procedure::CreateDatabase { if_not_exists, .. } => *if_not_exists,
        Procedure::CreateTable(create) => create.if_not_exists,
        Procedure::DropDatabase { if_exists, .. } | Procedure::DropTable { if_exists, .. } => *if_exists,
        Procedure::AlterDatabase { .. } => true,
        Procedure::AlterTable { change, .. } => {
            matches!(change, TableChange::Widen(_) | TableChange::SetOptions(_))
        }
        // A second truncate would remove rows that were acknowledged after the first.
        Procedure::EachRegion { action, .. } => *action != RegionAction::Truncate,
    }
}

#[async_trait]
impl MetasrvApi for MetasrvMembers {
    /// A session that is opened and forgotten harms nobody: the next one of the node fences it.
    async fn register(&self, call: &Call, registration: Registration) -> Result<Session> {
        self.request(call, Repeat::Quick, |member, call| member.register(call, registration.clone())).await
    }

    async fn heartbeat(
        &self,
        call: &Call,
        session: NodeEpoch,
        beats: Messages<Beat>,
    ) -> Result<Messages<Result<BeatReply>>> {
        let (asked, member) = self.current()?;
        let opened = self.attempt(Repeat::Quick, member.heartbeat(call, session, beats)).await;
        if let Err(error) = &opened
            && Self::is_worth_another(error, Repeat::Quick)
        {
            self.leave(&asked, error);
        }
        opened
    }

    async fn watch(&self, call: &Call, watcher: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        self.request(call, Repeat::Quick, |member, call| member.watch(call, watcher)).await
    }

    async fn execute(&self, call: &Call, procedure: Procedure) -> Result<Outcome> {
        let repeat = if is_repeatable(&procedure) { Repeat::Slow } else { Repeat::Never };
        self.request(call, repeat, |member, call| member.execute(call, procedure.clone())).await
    }

    async fn region_statistics(&self, call: &Call, table: Option<TableId>) -> Result<Vec<RegionReport>> {
        self.request(call, Repeat::Quick, |member, call| member.region_statistics(call, table)).await
    }

    /// Never twice: by then the connection may run another statement.
    async fn ask(&self, call: &Call, from: FrontendId, inquiry: Inquiry) -> Result<Answers> {
        self.request(call, Repeat::Never, |member, call| member.ask(call, from, inquiry.clone())).await
    }

    async fn answer(&self, call: &Call, from: FrontendId, question: u64, answer: Answer) -> Result<()> {
        self.request(call, Repeat::Never, |member, call| member.answer(call, from, question, answer.clone())).await
    }
}
