//! Memory of messages: each is charged to an account from the moment its length is known.
//!
//! tonic makes room for a message as soon as it has read its length, so the charge is made before tonic sees
//! that length; a full account refuses the message in its place, as an error of kind `Busy` that the caller
//! can tell from a broken connection. A message stays charged as long as somebody needs it: at the callee until
//! the head of the answer is made, at the caller until the answer is converted; in a stream until the next one
//! is asked for. What is sent stays charged until the transport has let go of its bytes.
//!
//! What a process is asked is charged to its requests, but for scans; these, and what it asks others, are
//! charged to its queries, so that bodies of clients that fill the one do not stop what they wait for.
//!
//! | call | what a full account refuses |
//! |---|---|
//! | write, execute | the request; never the answer, because what it tells has been done |
//! | describe, scan | request and answer; a scan also before its work begins, unless there is room for a piece |
//! | all others to metasrv | nothing: leases, routes and cancels hang on them, and writes must not end a lease |
//!
//! What is not refused is charged all the same, beyond the limit: the others step back for it. A size below which
//! nothing is refused would not do instead, because the beat of a node with many regions is large; nor would an
//! account of metasrv's own, because catalogs that many frontends load at once would fill that one.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::{Request, Response};
use parking_lot::Mutex;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Channel;
use tower::Service;
use varve_model::Result;
use varve_model::budget::{Account, Charge};

use crate::flight::PIECE_BYTES;
use crate::status::to_status;
use crate::wire::metasrv_server::SERVICE_NAME as METASRV;

mod body;
#[cfg(test)]
mod tests;

use body::{Incoming, Outgoing};

/// The accounts of a process that its gRPC is charged to.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Messages of the calls that others make.
    pub requests: Account,
    /// Scans.
    pub queries: Account,
}

/// What a full account refuses of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Nothing,
    Request,
    RequestAndAnswer,
}

/// How a call is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    refused: Refused,
    is_scan: bool,
}

impl Terms {
    /// The terms of the method at this path: `/package.Service/Method`.
    fn of(path: &str) -> Self {
        let name = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let refused = match name {
            Some((METASRV, "Execute")) => Refused::Request,
            Some((METASRV, _)) => Refused::Nothing,
            Some((_, "Describe" | "Scan")) => Refused::RequestAndAnswer,
            _ => Refused::Request,
        };
        Self { refused, is_scan: matches!(name, Some((_, "Scan"))) }
    }

    fn request(self, account: &Account) -> Purse {
        Purse { account: account.clone(), may_refuse: self.refused != Refused::Nothing }
    }

    fn answer(self, account: &Account) -> Purse {
        Purse { account: account.clone(), may_refuse: self.refused == Refused::RequestAndAnswer }
    }
}

/// An account, and whether it may refuse.
#[derive(Clone, Debug)]
struct Purse {
    account: Account,
    may_refuse: bool,
}

impl Purse {
    /// Errors: those of [`Account::admit`] when it may refuse.
    fn charge(&self, bytes: u64) -> Result<Charge> {
        if bytes > 0 && self.may_refuse { self.account.admit(bytes) } else { Ok(unrefused(&self.account, bytes)) }
    }
}

/// A charge that may pass the limit.
pub(super) fn unrefused(account: &Account, bytes: u64) -> Charge {
    let mut charge = account.empty();
    charge.set(bytes);
    charge
}

/// The charge of the message that is read, shared by all who need it: the body that reads it, and the call.
#[derive(Clone, Debug)]
struct Held(Arc<Mutex<Charge>>);

impl Held {
    fn new(account: &Account) -> Self {
        Self(Arc::new(Mutex::new(account.empty())))
    }

    fn add(&self, charge: Charge) {
        self.0.lock().absorb(charge);
    }

    /// Gives back all but so much, unless somebody else needs it too.
    fn keep_if_alone(&self, bytes: u64) {
        if Arc::strong_count(&self.0) == 1 {
            let mut charge = self.0.lock();
            let handed_over = charge.bytes().saturating_sub(bytes);
            charge.shrink(handed_over);
        }
    }
}

/// Routes whose requests and answers are charged.
#[derive(Clone, Debug)]
pub(super) struct ChargedRoutes {
    routes: Routes,
    accounts: Accounts,
}

impl ChargedRoutes {
    pub(super) fn new(routes: Routes, accounts: Accounts) -> Self {
        Self { routes: routes.prepare(), accounts }
    }
}

impl Service<Request<Body>> for ChargedRoutes {
    type Response = Response<Body>;
    type Error = <Routes as Service<Request<Body>>>::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let terms = Terms::of(request.uri().path());
        let account = if terms.is_scan { &self.accounts.queries } else { &self.accounts.requests };
        let room = if terms.is_scan { account.charge(PIECE_BYTES as u64) } else { Ok(account.empty()) };
        let room = match room {
            Ok(room) => room,
            Err(error) => return std::future::ready(Ok(to_status(&error).into_http())).boxed(),
        };
        let held = Held::new(account);
        let purse = terms.request(account);
        let request = request.map(|body| Body::new(Incoming::new(body, purse, held.clone())));
        let purse = terms.answer(account);
        let answering = self.routes.call(request);
        let answering = async move {
            let answer = answering.await;
            drop((held, room));
            Ok(answer?.map(|body| Body::new(Outgoing::new(body, purse))))
        };
        answering.boxed()
    }
}

/// A connection whose answers are charged. The charge of an answer of one message is in the extensions of the
/// response, and lives as long as they do.
#[derive(Clone, Debug)]
pub(super) struct ChargedChannel {
    channel: Channel,
    account: Account,
}

impl ChargedChannel {
    pub(super) fn new(channel: Channel, account: Account) -> Self {
        Self { channel, account }
    }
}

impl Service<Request<Body>> for ChargedChannel {
    type Response = Response<Body>;
    type Error = <Channel as Service<Request<Body>>>::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let held = Held::new(&self.account);
        let purse = Terms::of(request.uri().path()).answer(&self.account);
        let answering = self.channel.call(request);
        let answering = async move {
            let mut answer = answering.await?;
            answer.extensions_mut().insert(held.clone());
            Ok(answer.map(|body| Body::new(Incoming::new(body, purse, held))))
        };
        answering.boxed()
    }
}
